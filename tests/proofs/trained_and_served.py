"""A training run and inference sessions in one process that then lives on for a while; run by `test_no_calls.py`.

Arguments: a folder of training data, a folder of a pretrained text encoder, and a folder for the run.
"""

from __future__ import annotations

import sys
import time

from stream_app.bundle.demo import demo_bundle_path
from stream_app.bundle.graphs import Graphs
from stream_app.bundle.load import load_bundle
from vigil_export.cli import main

_SMALL = (
    "image.kind=timm",
    "image.backbone=mobilenetv3_small_050",
    "text.kind=bert",
    "text.max_tokens=12",
    "recipe.batch=4",
    "recipe.threads=1",
)
#: A vendor was called 9.5 s after the first session was opened.
_LONG_ENOUGH_S = 13


def _train(data: str, text: str, out: str) -> None:
    chosen = [part for setting in (*_SMALL, f"text.pretrained={text}") for part in ("--set", setting)]
    try:
        main(["train", "--data", data, "--out", out, "--epochs", "1", "--image-weights", "random", *chosen])
    except SystemExit as ended:
        if ended.code:
            raise


if __name__ == "__main__":
    graphs, opened = Graphs(load_bundle(demo_bundle_path()), intra_op_threads=1), time.monotonic()
    _train(*sys.argv[1:])
    time.sleep(max(0.0, opened + _LONG_ENOUGH_S - time.monotonic()))
