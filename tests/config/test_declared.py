"""Each setting is declared once, documented, and on the settings page."""

from pathlib import Path

import pytest

from stream_app.config import SETTINGS, Setting, settings_page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_documented(setting: Setting) -> None:
    assert len(setting.help) > 10, f"setting {setting.name} has no help text"
    assert setting.help.endswith("."), setting.help
    assert setting.expected


def test_no_two_settings_have_one_name() -> None:
    names = [setting.name for setting in SETTINGS]
    assert len(set(names)) == len(names)


def test_the_settings_page_is_what_the_declarations_say() -> None:
    assert PAGE.read_text("utf-8") == settings_page(), "docs/settings.md is stale: run `vigil config docs`"
