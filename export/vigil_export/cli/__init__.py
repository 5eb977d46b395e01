"""The command line `vigil-export`: names the commands; each is loaded only when it is called.

In: arguments. Out: an exit status that says what happened. It must not know what any command does: PyTorch takes
seconds to import, and `--help` should not wait for it.
"""

from __future__ import annotations

from typing import ClassVar

from stream_app.terminal.groups import Commands, Part, command_line, run_command_line

__all__ = ["app", "main"]


class _VigilExport(Commands):
    advice = "install the extra `export`"
    parts: ClassVar = {
        "data": Part("vigil_export.cli.data", "Check, split and create data sets."),
        "train": Part("vigil_export.cli.train", "Train a model on a data set."),
        "crossval": Part("vigil_export.cli.crossval", "Train and test once per held-out fold of a data set."),
        "evaluate": Part("vigil_export.cli.evaluate", "Evaluate a run and write a report."),
        "compare": Part("vigil_export.cli.compare", "Compare runs: is fusing worth it?"),
        "export": Part("vigil_export.cli.export", "Pack a run as a bundle: graphs, card, signature."),
        "bench": Part("vigil_export.cli.bench", "Measure how fast a bundle runs on this machine."),
        "keys": Part("vigil_export.cli.keys", "Create keys and sign bundles."),
    }


app = command_line(
    _VigilExport,
    words="Train image-text models on labelled pictures and sentences, and pack them as bundles for Vigil.",
    epilog="Exit status: 0 done, 1 failed, 2 wrong usage, 4 refused by a check, 130 interrupted.",
)


@app.callback()
def _vigil_export() -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run `vigil-export` and exit the process.

    Args:
        arguments: Without the program's name; None for the process's own.

    Raises:
        SystemExit: Always; the epilog of `--help` lists the exit statuses.
    """
    run_command_line(app, "vigil-export", arguments)
