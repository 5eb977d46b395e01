"""The manifest of a model bundle: bytes of ``manifest.json`` in, checked frozen values out.

It knows the contract between training and serving and nothing else: no files, no ONNX, no Kafka. Whatever is not in
the contract (an unknown field, a newer schema, a label without thresholds) is refused with expected and found.
"""

from __future__ import annotations

import hashlib
import math
import re
from itertools import pairwise
from typing import Annotated, Any, Literal

import msgspec

from stream_app.bundle.errors import BundleError

#: The schema this code reads and writes. A newer one may mean anything and is refused.
SCHEMA = 1
MANIFEST_NAME = "manifest.json"
IMAGE_ENCODER = "image_encoder.onnx"
TEXT_ENCODER = "text_encoder.onnx"
FUSION_HEAD = "fusion_head.onnx"
TOKENIZER = "tokenizer.json"
MODEL_CARD = "MODEL_CARD.md"
#: May lie beside the manifest, which cannot name it: it is made of the manifest (``stream_app.bundle.signature``).
SIGNATURE_NAME = "manifest.sig"
#: The files of a bundle beside the manifest and its signature: these and no others.
FILE_NAMES = (IMAGE_ENCODER, TEXT_ENCODER, FUSION_HEAD, TOKENIZER, MODEL_CARD)

Task = Literal["binary", "multiclass", "multilabel"]
#: Which sides a result was computed from: each has its own calibration.
Presence = Literal["both", "image", "text"]
PRESENCES: tuple[Presence, ...] = ("both", "image", "text")

SHA256_PATTERN = "[0-9a-f]{64}"
_SHA256 = re.compile(SHA256_PATTERN)
# Names become directory names, alert fields and metric labels.
NAME_PATTERN = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_NAME = re.compile(NAME_PATTERN)
MAX_LABEL_CHARS = 64
# Far beyond what a calibration needs; without a bound a finite scale turns finite logits into infinities, and those
# into a softmax that is no number.
MAX_CALIBRATION = 1e6
# Beyond one logit the parity check would pass for any model.
MAX_TOLERANCE = 1.0
# Far beyond any logit; it keeps the differences of knots finite.
KNOT_LIMIT = 1e6
_Size = Annotated[int, msgspec.Meta(ge=1, le=8192)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
_Dimensions = tuple[Annotated[int, msgspec.Meta(ge=1, le=10_000_000)], ...]


class Label(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One output of the model. ``open_at`` and ``close_at`` are probabilities, 0 < close_at <= open_at < 1.

    ``name`` becomes a metric's label, a key of alerts and a word in logs: at most 64 printable characters.
    """

    name: str
    alerts: bool
    open_at: float
    close_at: float


Knots = tuple[tuple[float, float], ...]
"""(x, y) of the corners of a piecewise-linear map that never falls; x rises strictly. Empty: nothing changes."""


class Scaling(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Calibration of one presence.

    ``scale`` and ``offset`` have one value per label: logit * scale + offset, with 0 < scale <= 1e6 and
    abs(offset) <= 1e6. ``knots``, where there are any, have one map per label, which the label's own log-odds go
    through last: straight lines between the corners, and before the first and after the last corner the value of that
    corner. Manifests without knots stay as they are.
    """

    scale: tuple[float, ...]
    offset: tuple[float, ...]
    knots: tuple[Knots, ...] = ()


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A scaling for each set of sides that can be present."""

    both: Scaling
    image: Scaling
    text: Scaling

    def of(self, presence: Presence) -> Scaling:
        """Return the scaling for ``presence``."""
        if presence == "both":
            return self.both
        return self.image if presence == "image" else self.text


class ImageSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the image encoder takes: uint8 [b, height, width, 3], made by the one resize mode that is named here."""

    height: _Size
    width: _Size
    color: Literal["rgb"] = "rgb"
    resize: Literal["area-stretch"] = "area-stretch"


class TextSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the text encoder takes: at most ``max_chars`` characters before and ``max_tokens`` after the tokenizer."""

    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    pad_id: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    normalization: Literal["NFKC"] = "NFKC"
    max_chars: _Count = 2000


class Features(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shape of one row's features of each side, of any rank."""

    image: _Dimensions
    text: _Dimensions


class SelfCheckCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One known result: raw logits of the training framework for a drawn image and a text; a null side is absent."""

    image_seed: int | None
    text: str | None
    logits: tuple[float, ...]


class SelfCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Known results, and by how much a logit may differ from them: 0 < tolerance <= 1."""

    tolerance: float
    cases: tuple[SelfCheckCase, ...]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that serving must know about a model. ``training`` and ``metrics`` are free JSON, for people."""

    schema: int
    name: str
    version: str
    task: Task
    labels: tuple[Label, ...]
    calibration: Calibration
    image: ImageSpec
    text: TextSpec
    features: Features
    opset: int
    files: dict[str, str]
    self_check: SelfCheck
    training: dict[str, Any]
    metrics: dict[str, Any]
    source_revision: str

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the labels in the order of the logits."""
        return tuple(label.name for label in self.labels)


class _SchemaOnly(msgspec.Struct, frozen=True):
    schema: int


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of ``data`` in lower case hex, as manifests hold it."""
    return hashlib.sha256(data).hexdigest()


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the bytes of ``manifest.json``: indented UTF-8 JSON, equal for equal manifests.

    Raises:
        BundleError: if the manifest is not one that ``parse_manifest`` would accept.
    """
    check_manifest(manifest)
    return msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=2) + b"\n"


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest.

    Args:
        data: the bytes of ``manifest.json``.

    Returns:
        The manifest; ``parse_manifest(encode_manifest(m)) == m``.

    Raises:
        BundleError: if it is not JSON, of another schema, has unknown or missing fields, or contradicts itself.
    """
    try:
        schema = msgspec.json.decode(data, type=_SchemaOnly).schema
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BundleError(MANIFEST_NAME, expected='a JSON object with an integer "schema"', found=error) from error
    if schema != SCHEMA:
        raise BundleError(f"{MANIFEST_NAME} schema", expected=SCHEMA, found=schema)
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BundleError(MANIFEST_NAME, expected=f"the fields of schema {SCHEMA}", found=error) from error
    check_manifest(manifest)
    return manifest


def check_manifest(manifest: Manifest) -> None:
    """Check what types alone do not say.

    Raises:
        BundleError: for the first contradiction.
    """
    for what, name in (("name", manifest.name), ("version", manifest.version)):
        if not _NAME.fullmatch(name):
            raise BundleError(what, expected="1-64 of letters, digits, '.', '_', '-'", found=repr(name))
    if set(manifest.files) != set(FILE_NAMES):
        raise BundleError("files", expected=sorted(FILE_NAMES), found=sorted(manifest.files))
    for name, digest in manifest.files.items():
        if not _SHA256.fullmatch(digest):
            raise BundleError(f'files["{name}"]', expected="64 lower case hex digits", found=repr(digest))
    _check_labels(manifest)
    check_calibration(manifest.calibration, manifest.label_names)
    _check_self_check(manifest)


def _check_labels(manifest: Manifest) -> None:
    names = manifest.label_names
    if not names or len(set(names)) != len(names) or not all(names):
        raise BundleError("labels", expected="at least one, with different names", found=list(names))
    if manifest.task == "binary" and len(names) != 1:
        raise BundleError("labels", expected="1 label for task binary", found=len(names))
    if manifest.task == "multiclass" and len(names) < 2:
        raise BundleError("labels", expected="at least 2 labels for task multiclass", found=len(names))
    for label in manifest.labels:
        if len(label.name) > MAX_LABEL_CHARS or not label.name.isprintable() or label.name != label.name.strip():
            expected = f"names of at most {MAX_LABEL_CHARS} printable characters"
            raise BundleError("labels", expected=expected, found=repr(label.name[:MAX_LABEL_CHARS]))
        if not 0 < label.close_at <= label.open_at < 1:
            found = f"close_at {label.close_at}, open_at {label.open_at}"
            raise BundleError(f"label {label.name}", expected="0 < close_at <= open_at < 1", found=found)


def check_calibration(calibration: Calibration, names: tuple[str, ...]) -> None:
    """Check that a calibration has finite numbers for each label and keeps the order of scores.

    Args:
        calibration: of a manifest, or one that is to become part of one.
        names: of the labels.

    Raises:
        BundleError: for the first contradiction.
    """
    for presence in PRESENCES:
        _check_scaling(calibration.of(presence), names, f"calibration.{presence}")


def _check_scaling(scaling: Scaling, names: tuple[str, ...], where: str) -> None:
    for what, values in (("scale", scaling.scale), ("offset", scaling.offset)):
        if len(values) != len(names):
            raise BundleError(f"{where}.{what}", expected=f"{len(names)} values", found=len(values))
        # NaN fails every comparison.
        if not all(abs(value) <= MAX_CALIBRATION for value in values):
            raise BundleError(f"{where}.{what}", expected=f"values within +-{MAX_CALIBRATION:g}", found=list(values))
    # A scale that is not positive would turn "more certain" into "less certain".
    if not all(value > 0 for value in scaling.scale):
        raise BundleError(f"{where}.scale", expected="positive values", found=list(scaling.scale))
    if scaling.knots and len(scaling.knots) != len(names):
        raise BundleError(f"{where}.knots", expected=f"none, or {len(names)} maps", found=len(scaling.knots))
    for name, knots in zip(names, scaling.knots, strict=False):
        _check_knots(knots, f"{where}.knots of {name}")


def _check_knots(knots: Knots, where: str) -> None:
    if not all(abs(value) <= KNOT_LIMIT for knot in knots for value in knot):
        raise BundleError(where, expected=f"finite values within +-{KNOT_LIMIT:g}", found=list(knots))
    # A map that falls anywhere would turn "more certain" into "less certain"; one that stands still in x has no value.
    for (x, y), (next_x, next_y) in pairwise(knots):
        if not (x < next_x and y <= next_y):
            expected = "x that rises and y that never falls"
            raise BundleError(where, expected=expected, found=f"({x}, {y}) before ({next_x}, {next_y})")


def _check_self_check(manifest: Manifest) -> None:
    check = manifest.self_check
    if not 0 < check.tolerance <= MAX_TOLERANCE:
        expected = f"above 0 and at most {MAX_TOLERANCE:g}"
        raise BundleError("self_check.tolerance", expected=expected, found=check.tolerance)
    if not check.cases:
        raise BundleError("self_check.cases", expected="at least one case", found=0)
    for index, case in enumerate(check.cases):
        if case.image_seed is None and case.text is None:
            raise BundleError(f"self_check.cases[{index}]", expected="an image seed or a text", found="neither")
        if len(case.logits) != len(manifest.labels) or not all(math.isfinite(logit) for logit in case.logits):
            expected = f"{len(manifest.labels)} finite logits"
            raise BundleError(f"self_check.cases[{index}].logits", expected=expected, found=list(case.logits))
