"""Makes the bundled demo model as any other: draws the site as a data set, trains, tests, calibrates, packs.

`python -m benchmarks.demo_bundle OUT`. The bundle appears at the very end or never; all else lies in a folder for the
work, which goes unless it was named.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stream_app.bundle.manifest import Manifest
from vigil_export.data.reading.site_folder import write_site
from vigil_export.packing.bundle import Order as Packing
from vigil_export.packing.bundle import make_bundle
from vigil_export.packing.card import About
from vigil_export.packing.folder import refuse_existing
from vigil_export.packing.source import open_source
from vigil_export.training.config import read_config
from vigil_export.training.fit import fit
from vigil_export.training.predict import predict_run
from vigil_export.training.run import RunFolder

CONFIG = Path(__file__).parent / "models" / "site.toml"
"""How it is trained; paths and seed come from the order."""
FUSIONS = Path(__file__).parent / "models" / "site_fusions.md"
"""The table of `python -m benchmarks.model_tables site`, for the card."""

_USE = (
    "Showing Vigil at work on its drawn site: one yard with fence, gate and barrier, and texts in English and Chinese."
)
_ORIGIN = (
    "Drawn and composed by Vigil itself (`vigil-export data site`), pictures and texts alike: no photograph, and no "
    "sentence that a person wrote. Apache-2.0."
)
_FACETS = ("claims", "hour", "kind", "picture", "scene", "wording")
_LIMITS = """- **Real cameras and real alarms.** It has never seen a photograph or a sentence that a person wrote. Its
  scores on them mean nothing; train a model of your own (docs/train-your-own.md).
- Other languages, other events.
- What each text says was composed: 65 % of them are truthful, 20 % vague, 15 % wrong. Where a text is wrong with
  confidence, the picture alone is the better judge (facet `kind` above)."""
_LICENCE = "Apache-2.0, as the rest of Vigil. Trained from random weights on pictures and texts that Vigil draws."


@dataclass(frozen=True, slots=True)
class Order:
    """What to make.

    Attributes:
        name: Of the bundle.
        version: Of the bundle.
        train: Training pictures.
        validation: Pictures for calibration and thresholds.
        test: Pictures for the figures of the card, half of them with wording that training never uses.
        texts: Of each picture.
        seed: Decides pictures, texts, weights and order.
        overrides: Dotted key -> value, over `CONFIG`.
    """

    name: str = "site"
    version: str = "1"
    train: int = 12_000
    validation: int = 3000
    test: int = 6000
    texts: int = 2
    seed: int = 0
    overrides: Mapping[str, Any] = field(default_factory=dict)


Say = Callable[[str], None]
"""Told one line after each step."""


def make_demo_bundle(out: Path, order: Order, *, say: Say, work: Path | None = None) -> Manifest:
    """Make a bundle of the drawn site.

    Args:
        out: Directory to create; must not exist.
        order: What to make; equal orders give equal bundles on one machine, as far as PyTorch permits.
        say: Told one line after each step.
        work: Folder for data set and run, kept; None: a temporary one.

    Returns:
        The manifest of the bundle.

    Raises:
        FileExistsError: `out` exists.
        RunError: `work` has a run already.
        ExportRefusedError: An exported graph is not what was trained.
        BundleError: Serving would refuse the bundle.
        OSError: The disk is full, or refuses.
    """
    refuse_existing(out)  # said at once, not after minutes of training
    with ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vigil-demo-")))
        data, run = folder / "site", RunFolder(folder / "runs" / order.name)
        pictures = {"train": order.train, "validation": order.validation, "test": order.test}
        rows = write_site(data, pictures, texts=order.texts, seed=order.seed)  # type: ignore[arg-type]
        say(f"drew {rows} rows of {sum(pictures.values())} pictures")
        given = {"data.path": str(data), "seed": order.seed}
        fit(read_config(CONFIG, {**order.overrides, **given}), run, say=say)
        predict_run(run, "test").save(run.predictions("test"))
        say("judged the test rows")
        about = About(
            intended_use=_USE, data_origin=_ORIGIN, limits=_LIMITS, licence=_LICENCE, notes=FUSIONS.read_text("utf-8")
        )
        packing = Packing(name=order.name, version=order.version, about=about)
        return make_bundle(open_source(run, facets=_FACETS), out, packing, say=say).manifest


def main() -> None:
    """Make it, with the numbers of the one that ships."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo_bundle", description=__doc__)
    parser.add_argument("out", type=Path, help="bundle directory to create; must not exist")
    parser.add_argument("--work", type=Path, help="keep data set and run here")
    options = parser.parse_args()
    make_demo_bundle(options.out, Order(), say=print, work=options.work)


if __name__ == "__main__":
    main()
