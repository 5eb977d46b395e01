"""The one loader of settings: defaults, then a TOML file, then the environment, then flags; the later wins.

In: a path, the environment, flags. Out: typed, checked settings and where each value came from. Nothing else in Vigil
reads files or the environment for settings. An unknown name is an error, wherever it comes from.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from stream_app.config.declared import BY_NAME, SETTINGS, Setting
from stream_app.config.operational import Operational
from stream_app.config.thresholds import ThresholdOverride, settings_sha256
from stream_app.core.settings import Semantic, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_FILE = Path("vigil.toml")
FILE_VARIABLE = "VIGIL_CONFIG"
#: Another name of `bootstrap`: what tests and scripts use to say "that Kafka, not one of your own".
BROKER_VARIABLE = "VIGIL_BROKER"
_PREFIX = "VIGIL_"
#: Settings become times, sizes and fields of JSON and checkpoints; beyond this some reader would no longer be exact.
_LARGEST = 2**53
#: Room that a batch needs beside its largest image: key, headers, and what its records cost.
_BESIDE_IMAGE_BYTES = 1024 * 1024
_THRESHOLDS = "thresholds"
_THRESHOLD_FIELDS = ("open_at", "close_at")
# Kubernetes puts these into every container for a service whose name begins with "vigil"; they are not meant for us.
_SERVICE_LINK = re.compile(r"VIGIL_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP)(?:_\w+)?)")


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The settings in force. ``origins`` names for each setting where its value came from; ``file`` the TOML read."""

    semantic: Semantic
    operational: Operational
    thresholds: tuple[ThresholdOverride, ...]
    origins: Mapping[str, str]
    file: Path | None

    @property
    def sha256(self) -> str:
        """The settings hash, over all that changes results: semantic settings and threshold overrides."""
        return settings_sha256(self.semantic, self.thresholds)


class _Values:
    """Raw values by name, each with where it came from; a later one replaces an earlier one."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.thresholds: dict[tuple[str, str], float] = {}
        self.origins: dict[str, str] = {}

    def put(self, name: str, value: object, *, origin: str, is_text: bool) -> None:
        """Check one value and keep it; text (environment, flags) is read as the setting's type."""
        if name == _THRESHOLDS or name.startswith(f"{_THRESHOLDS}."):
            self._put_thresholds(name, value, origin=origin, is_text=is_text)
            return
        setting = BY_NAME.get(name)
        if setting is None:
            _unknown(name, origin, [*BY_NAME, _THRESHOLDS])
        else:
            self.settings[name] = _convert(setting, value, origin=origin, is_text=is_text)
            self.origins[name] = origin

    def _put_thresholds(self, name: str, value: object, *, origin: str, is_text: bool) -> None:
        # A label may hold dots, so the field is what follows the last one.
        inner = name[len(_THRESHOLDS) + 1 :]
        if inner:
            label, dot, field = inner.rpartition(".")
            if dot and field in _THRESHOLD_FIELDS:
                self._put_threshold(label, field, value, origin=origin)
                return
            _unknown(name, origin, [f"{_THRESHOLDS}.{label or inner}.{field}" for field in _THRESHOLD_FIELDS])
        if is_text:
            value = _json_of_thresholds(value, origin)
        if not isinstance(value, dict):
            _wrong(_THRESHOLDS, origin, "a table of labels", value)
        for label, fields in value.items():
            if not isinstance(fields, dict):
                _wrong(f"{_THRESHOLDS}.{label}", origin, "a table with open_at, close_at", fields)
            # It would do nothing, and its label, perhaps misspelt, would be compared with nothing.
            if not fields:
                _wrong(f"{_THRESHOLDS}.{label}", origin, "open_at, close_at or both", fields)
            for field, probability in fields.items():
                if field not in _THRESHOLD_FIELDS:
                    _unknown(
                        f"{_THRESHOLDS}.{label}.{field}",
                        origin,
                        [f"{_THRESHOLDS}.{label}.{n}" for n in _THRESHOLD_FIELDS],
                    )
                self._put_threshold(label, field, probability, origin=origin)

    def _put_threshold(self, label: str, field: str, value: object, *, origin: str) -> None:
        name = f"{_THRESHOLDS}.{label}.{field}"
        try:
            probability = msgspec.convert(value, float, strict=False)
        except msgspec.ValidationError:
            probability = -1.0
        if isinstance(value, bool) or not 0.0 < probability < 1.0:
            _wrong(name, origin, "a probability strictly between 0 and 1", value)
        self.thresholds[label, field] = probability
        self.origins[name] = origin

    def overrides(self) -> tuple[ThresholdOverride, ...]:
        """Return the thresholds per label, labels in alphabetical order."""
        labels = sorted({label for label, _ in self.thresholds})
        return tuple(
            ThresholdOverride(
                label=label,
                open_at=self.thresholds.get((label, "open_at")),
                close_at=self.thresholds.get((label, "close_at")),
            )
            for label in labels
        )


def load_settings(
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    assignments: Iterable[str] = (),
    flags: Mapping[str, object] | None = None,
) -> LoadedSettings:
    """Read, check and combine all settings.

    Args:
        file: a TOML file that must exist; None reads the one that ``VIGIL_CONFIG`` names, else ``./vigil.toml`` if
            there is one.
        environ: the environment; None for the process's own.
        assignments: ``name=value`` as given by ``--set``.
        flags: values of dedicated flags by setting name; None stands for a flag that was not given.

    Returns:
        The settings and where each came from.

    Raises:
        SettingsError: if a file is missing or no TOML, a name is unknown, a value does not fit its type, or values do
            not fit together. The message names the setting, where it came from, the expected and the found.
    """
    environ = os.environ if environ is None else environ
    values = _Values()
    path = _file_to_read(file, environ)
    if path is not None:
        for name, value in _read_toml(path).items():
            values.put(name, value, origin=f"file {path}", is_text=False)
    _put_environment(values, environ)
    _assign(values, assignments)
    for name, flag in (flags or {}).items():
        if flag is not None:
            values.put(name, flag, origin=f"flag for {name}", is_text=isinstance(flag, str))
    return _combined(values, path)


def change_settings(settings: Semantic, assignments: Iterable[str]) -> tuple[Semantic, tuple[ThresholdOverride, ...]]:
    """Return settings with some values changed, as a replay wants them: nothing but these assignments counts.

    Args:
        settings: those to begin with.
        assignments: ``name=value`` of semantic settings and thresholds.

    Returns:
        The settings, and overrides of thresholds.

    Raises:
        SettingsError: as :func:`load_settings`; or if a setting is named that changes no result.
    """
    values = _Values()
    for name, value in msgspec.structs.asdict(settings).items():
        values.put(name, value, origin="recording", is_text=False)
    _assign(values, assignments)
    for name in values.settings:
        if BY_NAME[name].kind != "semantic":
            _wrong(name, values.origins[name], "a setting that changes results", values.settings[name])
    return Semantic(**values.settings).check(), values.overrides()


def is_semantic(assignment: str) -> bool:
    """Return whether a ``name=value`` changes results: semantic settings and thresholds do."""
    name = assignment.partition("=")[0].strip()
    setting = BY_NAME.get(name)
    return name.partition(".")[0] == _THRESHOLDS or (setting is not None and setting.kind == "semantic")


def _assign(values: _Values, assignments: Iterable[str]) -> None:
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            _wrong("--set", "command line", "name=value", assignment)
        values.put(name.strip(), text, origin=f"--set {name.strip()}", is_text=True)


def _combined(values: _Values, path: Path | None) -> LoadedSettings:
    def chosen(kind: str) -> dict[str, Any]:
        return {s.name: values.settings[s.name] for s in SETTINGS if s.kind == kind and s.name in values.settings}

    origins = {setting.name: values.origins.get(setting.name, "default") for setting in SETTINGS}
    origins.update({name: origin for name, origin in values.origins.items() if name not in origins})
    semantic = Semantic(**chosen("semantic")).check()
    operational = Operational(**chosen("operational")).check()
    least = semantic.max_image_bytes + _BESIDE_IMAGE_BYTES
    if operational.batch_bytes < least:
        # Else an image that is allowed could be in no batch that is read.
        expected = f">= max_image_bytes + 1 MiB = {least}"
        _wrong("batch_bytes", origins["batch_bytes"], expected, operational.batch_bytes)
    return LoadedSettings(
        semantic,
        operational,
        values.overrides(),
        origins,
        path,
    )


def _file_to_read(file: Path | None, environ: Mapping[str, str]) -> Path | None:
    named = file or (Path(environ[FILE_VARIABLE]) if environ.get(FILE_VARIABLE) else None)
    if named is not None:
        if not named.is_file():
            message = f"settings file: expected a TOML file, found none at {named}"
            raise SettingsError(message)
        return named
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"settings file {path}: expected TOML, found {error}"
        raise SettingsError(message) from error
    except OSError as error:
        message = f"settings file {path}: cannot be read: {error.strerror}"
        raise SettingsError(message) from error


def _put_environment(values: _Values, environ: Mapping[str, str]) -> None:
    names = {setting.environment: setting.name for setting in SETTINGS} | {f"{_PREFIX}THRESHOLDS": _THRESHOLDS}
    if environ.get(BROKER_VARIABLE):
        values.put("bootstrap", environ[BROKER_VARIABLE], origin=f"environment {BROKER_VARIABLE}", is_text=True)
    for variable in sorted(environ):
        is_ours = variable.startswith(_PREFIX) and variable not in {FILE_VARIABLE, BROKER_VARIABLE}
        if not is_ours or _is_service_link(variable, environ[variable]):
            continue
        if variable not in names:
            _unknown(variable, "environment", [*names, FILE_VARIABLE, BROKER_VARIABLE])
        values.put(names[variable], environ[variable], origin=f"environment {variable}", is_text=True)


def _is_service_link(variable: str, value: str) -> bool:
    is_address = variable.endswith("_PORT") and value.startswith(("tcp://", "udp://"))
    return is_address or _SERVICE_LINK.fullmatch(variable) is not None


def _convert(setting: Setting, value: object, *, origin: str, is_text: bool) -> Any:  # noqa: ANN401 - the setting's type
    try:
        converted = msgspec.convert(value, setting.annotation, strict=not is_text)
    except msgspec.ValidationError:
        found = "a value that is not shown" if setting.is_secret else value
        _wrong(setting.name, origin, setting.expected, found)
    if isinstance(converted, int) and abs(converted) > _LARGEST:
        _wrong(setting.name, origin, f"{setting.expected}, at most 2^53 either way", value)
    return converted


def _json_of_thresholds(value: object, origin: str) -> object:
    try:
        return msgspec.json.decode(str(value))
    except (msgspec.DecodeError, RecursionError):
        _wrong(_THRESHOLDS, origin, 'JSON such as {"LABEL": {"open_at": 0.8}}', value)


def _unknown(name: str, origin: str, known: list[str]) -> NoReturn:
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else "`vigil config show` lists all settings"
    message = f"unknown setting {name} ({origin}): {hint}"
    raise SettingsError(message)


def _wrong(name: str, origin: str, expected: str, found: object) -> NoReturn:
    message = f"setting {name} ({origin}): expected {expected}, found {found!r}"
    raise SettingsError(message)
