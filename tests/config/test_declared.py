"""Each setting is declared once, with its bounds, is documented, is used, and has no second default below."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import msgspec
import pytest

from stream_app.config import (
    BY_NAME,
    SETTINGS,
    Operational,
    Semantic,
    Setting,
    SettingsError,
    load_settings,
    settings_page,
)

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "settings.md"
#: Where settings are handed on, and the rooms below, which take them.
HANDING_ON = ("wiring", "cli")
BELOW = ("adapters", "bundle", "core", "runtime", "wire")
#: Not the setting but what thinning had made of it when the record was admitted.
OTHERS = {("stream_app.core.join", "Held", "sample_ms")}

_REQUIRED = msgspec.NODEFAULT


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


def _beyond(setting: Setting) -> list[Any]:
    """Return the values just outside a setting's bounds, and words that are none of its choice."""
    if setting.expected.startswith("integer"):
        words = setting.expected.split()
        bounds = dict(zip(words[1::2], map(int, words[2::2]), strict=True))
        return [bounds[sign] + step for sign, step in ((">=", -1), ("<=", 1)) if sign in bounds]
    return ["something else"] if " | " in setting.expected else []


@pytest.mark.parametrize(
    ("setting", "value"),
    [(setting, value) for setting in SETTINGS for value in _beyond(setting)],
    ids=lambda part: getattr(part, "name", str(part)),
)
def test_a_value_outside_its_bounds_is_refused_with_expected_and_found(
    setting: Setting,
    value: Any,  # noqa: ANN401 - the setting's type
) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(environ={}, assignments=[f"{setting.name}={value}"])
    expected = f"setting {setting.name} (--set {setting.name}): expected {setting.expected}, found {str(value)!r}"
    assert str(refused.value) == expected
    if setting.kind == "semantic":
        with pytest.raises(SettingsError, match=f"setting {setting.name}: expected"):
            Semantic(**{setting.name: value}).check()


def _another(setting: Setting) -> Any:  # noqa: ANN401 - the setting's type
    if isinstance(setting.default, int):
        return setting.default + 1
    return next(value for value in get_args(setting.annotation.__origin__) if value != setting.default)


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.kind == "semantic"], ids=lambda setting: setting.name)
def test_every_setting_that_changes_results_is_part_of_the_settings_hash(setting: Setting) -> None:
    assert Semantic(**{setting.name: _another(setting)}).sha256 != Semantic().sha256


def _modules(*rooms: str) -> Iterator[ModuleType]:
    for room in rooms:
        package = importlib.import_module(f"stream_app.{room}")
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield importlib.import_module(found.name)


def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


def _settings_in(tree: ast.AST) -> set[str]:
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & set(BY_NAME)


def _callables(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Return what a module defines and can be called: its functions, its classes and their methods."""
    for name, found in vars(module).items():
        if getattr(found, "__module__", "") != module.__name__:
            continue
        if inspect.isclass(found):
            yield name, found
            yield from ((f"{name}.{method}", call) for method, call in vars(found).items() if inspect.isfunction(call))
        elif inspect.isfunction(found):
            yield name, found


def _parameters(call: Any) -> dict[str, object]:  # noqa: ANN401 - a class or a function
    """Return what may be given to it, each with its default; `_REQUIRED` where it has none."""
    if inspect.isclass(call) and issubclass(call, msgspec.Struct):
        # Not by its signature: that asks for all types by name, and some are imported for type checkers only.
        names, defaults = call.__struct_fields__, call.__struct_defaults__
        required = dict.fromkeys(names[: len(names) - len(defaults)], _REQUIRED)
        return required | dict(zip(names[len(required) :], defaults, strict=True))
    if inspect.isclass(call) and "__init__" not in vars(call):
        return {}
    parameters = inspect.signature(call).parameters.values()
    return {p.name: _REQUIRED if p.default is p.empty else p.default for p in parameters}


def _defaults(call: Any) -> dict[str, object]:  # noqa: ANN401 - a class or a function
    return {name: default for name, default in _parameters(call).items() if default is not _REQUIRED}


def _handed_on(module: ModuleType) -> Iterator[tuple[str, Any, str]]:
    """Return the parameters that get a setting's value in a module: the setting, who is called, the parameter."""
    for node in ast.walk(_tree(module)):
        if not isinstance(node, ast.Call):
            continue
        call: Any = module
        for name in ast.unparse(node.func).split("."):
            call = getattr(call, name, None)
        if not (inspect.isclass(call) or inspect.isfunction(call)) or not call.__module__.startswith("stream_app."):
            continue
        given = dict(zip(_parameters(call), node.args, strict=False))
        given |= {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        for parameter, value in given.items():
            yield from ((setting, call, parameter) for setting in _settings_in(value))


def test_what_is_given_a_settings_value_has_no_default_of_its_own() -> None:
    handed_on = [found for module in _modules(*HANDING_ON) for found in _handed_on(module)]
    assert {"decode_memory_mb", "ort_threads", "max_image_pixels", "health_port"} <= {name for name, *_ in handed_on}
    second = [
        f"{setting}: {call.__module__}.{call.__qualname__}: {parameter} = {_defaults(call)[parameter]!r}"
        for setting, call, parameter in handed_on
        if parameter in _defaults(call)
    ]
    assert not second, "the default is the declaration's: " + "; ".join(second)


def test_what_is_called_as_a_setting_is_at_any_place_below_has_no_default_of_its_own() -> None:
    # By its own name or by the one, often of another unit, under which it is handed on.
    names = {parameter for module in _modules(*HANDING_ON) for _, _, parameter in _handed_on(module)} | set(BY_NAME)
    second = [
        f"{module.__name__}.{name}: {parameter} = {default!r}"
        for module in _modules(*BELOW)
        for name, call in _callables(module)
        for parameter, default in _defaults(call).items()
        if parameter in names and isinstance(default, (int, float, str)) and call is not Semantic
        if (module.__name__, name, parameter) not in OTHERS
    ]
    assert not second, "the default is the declaration's: " + "; ".join(second)


def test_every_setting_is_used() -> None:
    operational = set().union(*(_settings_in(_tree(module)) for module in _modules(*HANDING_ON)))
    # What it makes of its own: the group in force, the core's limits.
    operational |= _settings_in(ast.parse(inspect.getsource(Operational).partition("def check(")[0]))
    semantic = set().union(
        *(_settings_in(_tree(module)) for module in _modules("core") if module.__name__ != Semantic.__module__),
        {"grace_ms"} if Semantic(grace_ms=7).horizon_ms != Semantic().horizon_ms else set(),
    )
    used = {"operational": operational, "semantic": semantic}
    assert [setting.name for setting in SETTINGS if setting.name not in used[setting.kind]] == []
