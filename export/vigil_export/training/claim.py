"""Claims the folder of a run, or of a cross-validation. In: a configuration, a folder. Out: a started folder."""

from __future__ import annotations

import shutil

from stream_app.files import write_whole
from vigil_export.training.config import ConfigError, TrainConfig, encode_config
from vigil_export.training.run import RunError, RunFolder, write_json


def claim(config: TrainConfig, run: RunFolder, *, resume: bool) -> None:
    """Create the folder and write the configuration; or check that a resumed run has the same one.

    Args:
        config: The configuration asked for.
        run: Must not exist, unless it is resumed.
        resume: Continue an interrupted run.

    Raises:
        RunError: The folder exists already, or is none that can be resumed.
        ConfigError: The run to be resumed has another configuration, or only a part of its own.
        OSError: The disk is full, or refuses; there is no folder then.
    """
    if resume:
        require_begun(run)
        # To the byte: a file that was cut between two lines reads as a configuration, with defaults for the rest.
        if run.config.read_bytes() != _written(config):
            raise ConfigError(
                f"{run.config}: expected its own configuration, found another, or a part of it: resume without "
                "changes, or restore the file from a copy"
            )
        return
    if run.path.exists():
        advice = "--resume it" if run.config.is_file() else "remove it"
        raise RunError(f"expected no {run.path}, found one: choose another name, or {advice}")
    run.path.mkdir(parents=True)
    try:
        write_whole(run.config, _written(config))
        write_json(run.state, {"finished": False})
    except OSError:  # without both it could neither be resumed nor begun again
        shutil.rmtree(run.path, ignore_errors=True)
        raise


def _written(config: TrainConfig) -> bytes:
    """Return the file of a configuration; only its last line tells a whole one from one without its last tables."""
    return encode_config(config) + b"# the end\n"


def require_begun(run: RunFolder) -> None:
    """Require that there is something to resume.

    Raises:
        RunError: There is no folder, or one without a configuration.
    """
    if not run.path.exists():
        raise RunError(f"{run.path}: expected something to resume, found no such folder: start without --resume")
    if not run.config.is_file():
        raise RunError(
            f"{run.path}: expected something to resume, found no {run.config.name} in it: remove the folder, or choose "
            "another name, and start without --resume"
        )
