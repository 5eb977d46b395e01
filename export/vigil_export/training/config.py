"""What a training is asked for: one typed value, read from a TOML or YAML file. Unknown keys are errors.

In: bytes of a file. Out: a `TrainConfig`; it is written back to the run with all defaults.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from vigil_export.data.preparing.augment import AugmentSpec
from vigil_export.data.preparing.augment_text import TextAugmentSpec
from vigil_export.data.reading.read import ReadOptions
from vigil_export.models.encoders import ImageEncoderSpec, TextEncoderSpec
from vigil_export.models.fusions import FusionSpec

_Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
_Weight = Annotated[float, msgspec.Meta(ge=0)]
_Count = Annotated[int, msgspec.Meta(ge=1)]


class ConfigError(ValueError):
    """A configuration cannot be used; the message names the file, the key, what was expected and found."""


class DataConfig(ReadOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which rows, and how they are read (`ReadOptions`).

    Attributes:
        path: The data set, as `vigil-export data check` takes it.
        validation_share: Share of the training rows that becomes validation where the data set has none, by whole
            groups.
        folds: Parts of a cross-validation, for one of which this is; 0: none, the data set's own splits.
        fold_column: The facet that numbers the parts, for data sets that bring theirs; `folds` then says how many.
        fold: Which part is the test split, from 0; the splits that the data set has are not looked at.
        uses_all_rows: Learn from every row, less a share for validation, whatever its split: for the model that is
            used, once a cross-validation has told what it is worth. There is no test split then.
        cache: Folder where prepared pictures, and what frozen encoders give for them, are kept; runs may share it.
            Empty: in the folder of the run.
        kept_gib: How many GiB of what a frozen encoder gives are kept for a split; where it would be more, the encoder
            runs in every epoch.
    """

    path: str
    validation_share: _Share = 0.15
    folds: Annotated[int, msgspec.Meta(ge=0)] = 0
    fold_column: str = ""
    fold: Annotated[int, msgspec.Meta(ge=0)] = 0
    uses_all_rows: bool = False
    cache: str = ""
    kept_gib: _Weight = 8.0


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to train.

    Attributes:
        method: `gradient` trains everything that is not frozen; `probe` keeps both encoders as they are and fits linear
            layers to their features (`vigil_export.training.probe`), for which most of the other keys do not count.
        strengths: Regularisations that a probe tries; a greater number regularises less.
        inner_folds: Parts of the training rows, by whole groups, on which a probe chooses and learns to join the sides.
        epochs: Passes over the rows at most.
        patience: Epochs without a lower validation loss after which training ends; 0: never early.
        batch: Rows per step; rows that share a picture come together, and the picture is encoded once.
        rate: Highest learning rate.
        schedule: `one-cycle` (Smith 2018, arXiv:1803.09820) or `cosine` (Loshchilov and Hutter 2016, arXiv:1608.03983).
        weight_decay: Of AdamW.
        clip: Greatest norm of a step's gradient; 0: no bound.
        loss: `cross-entropy`, or `focal` (Lin et al. 2017, arXiv:1708.02002), which looks at what is hard.
        focal_gamma: How much harder.
        class_weights: Weigh the classes so that each counts the same.
        image_alone_weight: Weight of the loss with the text left out; the loss with both has weight 1.
        text_alone_weight: Weight of the loss with the picture left out.
        thaw_every: Epochs after which one more stage of a `staged` encoder learns.
        augment: Changes of the training pictures; none where left out.
        augment_text: Changes of the training texts; none where left out.
        precision: Of the arithmetic: float32, or a narrower type where PyTorch's autocast takes it.
        is_deterministic: Refuse operations whose result may differ between runs.
        threads: Of PyTorch; 0: as many as it likes. Another number, slightly other weights.
        calibration: `platt`, `temperature`, `isotonic` or `none`.
        thresholds: Rule by which open_at is chosen, such as `f=1` or `recall=0.95`.
    """

    method: Literal["gradient", "probe"] = "gradient"
    strengths: tuple[Annotated[float, msgspec.Meta(gt=0)], ...] = (0.03, 0.1, 0.3, 1.0, 3.0)
    inner_folds: Annotated[int, msgspec.Meta(ge=2)] = 5
    epochs: _Count = 10
    patience: Annotated[int, msgspec.Meta(ge=0)] = 0
    batch: Annotated[int, msgspec.Meta(ge=2)] = 64
    rate: Annotated[float, msgspec.Meta(gt=0)] = 1e-3
    schedule: Literal["one-cycle", "cosine"] = "one-cycle"
    weight_decay: _Weight = 0.01
    clip: _Weight = 2.0
    loss: Literal["cross-entropy", "focal"] = "cross-entropy"
    focal_gamma: _Weight = 2.0
    class_weights: bool = False
    image_alone_weight: _Weight = 0.5
    text_alone_weight: _Weight = 0.3
    thaw_every: _Count = 1
    augment: AugmentSpec | msgspec.UnsetType = msgspec.UNSET
    augment_text: TextAugmentSpec | msgspec.UnsetType = msgspec.UNSET
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    is_deterministic: bool = False
    threads: Annotated[int, msgspec.Meta(ge=0)] = 0
    calibration: Literal["platt", "temperature", "isotonic", "none"] = "platt"
    thresholds: str = "f=1"


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that decides a run. Equal configurations over equal data give equal weights on one machine's CPU.

    Attributes:
        data: The rows.
        image: The image encoder.
        text: The text encoder.
        fusion: The fusion head.
        recipe: How to train.
        seed: Decides weights, order, dropout and augmentation.
    """

    data: DataConfig
    image: ImageEncoderSpec = ImageEncoderSpec()
    text: TextEncoderSpec = TextEncoderSpec()
    fusion: FusionSpec = FusionSpec()
    recipe: Recipe = Recipe()
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0


def read_config(path: Path, overrides: dict[str, Any] | None = None) -> TrainConfig:
    """Read a configuration.

    Args:
        path: A `.toml`, `.yaml` or `.yml` file.
        overrides: Dotted key -> value, which win over the file: `{"recipe.epochs": 3}`.

    Raises:
        ConfigError: It cannot be read, has an unknown key, or a value does not fit.
    """
    try:
        data = path.read_bytes()
        decode = msgspec.toml.decode if path.suffix == ".toml" else msgspec.yaml.decode
        table = decode(data)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path}: expected a TOML or YAML file, found {error}") from error
    return make_config(table, overrides, where=str(path))


def make_config(table: object, overrides: dict[str, Any] | None = None, *, where: str = "flags") -> TrainConfig:
    """Check a configuration that was read; arguments and errors as in `read_config`."""
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: expected a table of keys, found {type(table).__name__}")
    table = copy.deepcopy(table)
    for key, value in (overrides or {}).items():
        *parents, last = key.split(".")
        place: object = table
        for parent in parents:
            place = place.setdefault(parent, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise ConfigError(f"{key}: expected a table to hold it, found a value")
        place[last] = value
    try:
        config = msgspec.convert(table, TrainConfig, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}{_choices(str(error))}") from error
    if config.text.kind == "bert" and not config.text.pretrained:
        raise ConfigError(
            f"{where}: expected text.pretrained beside text.kind = bert, found none: a folder, or a name on the "
            "Hugging Face hub such as google-bert/bert-base-uncased"
        )
    return config


def _choices(message: str) -> str:
    """Return what a key may be, where an error of msgspec names one that takes some words only."""
    at = re.search(r"`\$\.([\w.]+)`$", message)
    kind: msgspec.inspect.Type = msgspec.inspect.type_info(TrainConfig)
    for name in at[1].split(".") if at else ():
        if not isinstance(kind, msgspec.inspect.StructType):
            return ""
        kind = {field.encode_name: field.type for field in kind.fields}[name]
    return f": one of {', '.join(map(str, kind.values))}" if isinstance(kind, msgspec.inspect.LiteralType) else ""


def encode_config(config: TrainConfig) -> bytes:
    """Return the configuration as TOML, with every default written out."""
    return msgspec.toml.encode(config)
