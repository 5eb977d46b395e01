"""`vigil worker`: join frames and texts, score them, publish alerts, until it is stopped."""

from __future__ import annotations

import asyncio
import faulthandler
from typing import Annotated

import structlog
import typer

from stream_app.adapters.observing.logs import configure_logging
from stream_app.cli.options import BootstrapOption, ConfigOption, SetOption, settings_from
from stream_app.config import LoadedSettings, SettingsError
from stream_app.terminal.lines import echo
from stream_app.terminal.outcome import BROKER_UNREACHABLE, REFUSED, CommandError, run_command
from stream_app.wiring.clients import worker_name

app = typer.Typer(add_completion=False, help="Join frames and texts, score them, publish alerts.")


@app.command()
def worker(
    *,
    bootstrap: BootstrapOption = None,
    provider: Annotated[
        str | None, typer.Option("--provider", help="auto, cuda, tensorrt or cpu; any but auto must work.")
    ] = None,
    bundle: Annotated[
        str | None, typer.Option("--bundle", metavar="DIR", help="Model bundle. [default: the setting `bundle`]")
    ] = None,
    bundle_key: Annotated[
        str | None, typer.Option("--bundle-key", metavar="FILE", help="Public key that the bundle is signed with.")
    ] = None,
    allow_unsigned: Annotated[
        bool, typer.Option("--allow-unsigned", help="Run a bundle whose signature is not checked.")
    ] = False,
    start_from: Annotated[
        str | None, typer.Option("--start-from", help="earliest, latest or a time, for tasks that never ran.")
    ] = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Run a worker. Start as many as you like, on one machine or many: the tasks are shared out among them."""
    flags: dict[str, object] = {
        "bootstrap": bootstrap,
        "provider": provider,
        "bundle": bundle,
        "bundle_key": bundle_key,
        "allow_unsigned": True if allow_unsigned else None,
        "start_from": start_from,
    }
    try:
        loaded = settings_from(config, assignments, flags=flags)
        operational = loaded.operational
        configure_logging(operational.log_format, operational.log_level, context={"worker": worker_name(operational)})
        faulthandler.enable()
        run_command(_until_stopped(loaded))
    except KeyboardInterrupt:
        # To be stopped is a worker's ordinary end, also before it has begun.
        echo("vigil: asked to stop before the worker began", err=True)


async def _until_stopped(loaded: LoadedSettings) -> None:
    # Here and not at the top: wrong settings are said before ONNX Runtime and Faust are loaded.
    from stream_app.adapters.inference.providers import ProviderError  # noqa: PLC0415
    from stream_app.adapters.kafka.clients import BrokerUnreachableError  # noqa: PLC0415
    from stream_app.adapters.kafka.preflight import PreflightError  # noqa: PLC0415
    from stream_app.adapters.observing.health import HealthAddressError  # noqa: PLC0415
    from stream_app.bundle.errors import BundleError  # noqa: PLC0415
    from stream_app.wiring.worker import run_worker  # noqa: PLC0415

    log = structlog.get_logger("vigil.worker")
    try:
        await run_worker(loaded)
    except asyncio.CancelledError as error:
        if (task := asyncio.current_task()) is None or not task.cancelling():
            log.critical("ended", reason="cancelled from within", exc_info=error)
            raise CommandError("the worker broke: it was cancelled from within") from error
        log.info("ended", reason="asked to stop")
    except BrokerUnreachableError as error:
        raise CommandError(str(error), status=BROKER_UNREACHABLE) from error
    except HealthAddressError as error:
        raise CommandError(str(error)) from error
    except (PreflightError, BundleError, ProviderError, SettingsError) as error:
        raise CommandError(str(error), status=REFUSED) from error
    except BaseException as error:
        log.critical("ended", reason=f"{type(error).__name__}: {error}", exc_info=error)
        raise CommandError(f"the worker broke: {type(error).__name__}: {error}") from error
