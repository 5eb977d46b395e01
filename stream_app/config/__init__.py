"""Settings, declared once. In: a file, the environment, flags. Out: frozen, checked values.

Nothing else reads settings from files or the environment. Semantic settings (they change results and are part of the
settings hash) and operational ones are kept apart.
"""

from stream_app.config.declared import BY_NAME, SETTINGS, Setting
from stream_app.config.load import LoadedSettings, change_settings, is_semantic, load_settings
from stream_app.config.operational import Operational, Provider
from stream_app.config.page import settings_page
from stream_app.config.thresholds import ThresholdOverride, override_labels, settings_sha256
from stream_app.core.settings import Semantic, SettingsError

__all__ = [
    "BY_NAME",
    "SETTINGS",
    "LoadedSettings",
    "Operational",
    "Provider",
    "Semantic",
    "Setting",
    "SettingsError",
    "ThresholdOverride",
    "change_settings",
    "is_semantic",
    "load_settings",
    "override_labels",
    "settings_page",
    "settings_sha256",
]
