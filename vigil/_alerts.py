"""The subscriber, as other programs call it: addresses and credentials in plain words, with the settings' defaults."""

from collections.abc import AsyncGenerator, Callable, Collection
from typing import get_args

import msgspec

from stream_app.adapters.reading.alerts import Wanted
from stream_app.adapters.reading.subscription import subscribe
from stream_app.config import Operational, SettingsError
from stream_app.wire.alerts import Alert, Notice, Phase
from stream_app.wiring.clients import connection_to

_CONNECTION = frozenset({"security_protocol", "sasl_mechanism", "sasl_username", "sasl_password", "ssl_cafile"})


def alerts(
    bootstrap: str,
    *,
    topic: str | None = None,
    group: str | None = None,
    from_beginning: bool = False,
    zones: Collection[str] = (),
    labels: Collection[str] = (),
    phases: Collection[str] = (),
    on_notice: Callable[[Notice], object] | None = None,
    **connection: str,
) -> AsyncGenerator[Alert, None]:
    """Yield the alerts of a deployment as they are committed, each once; it ends when it is cancelled or closed.

    Only what is committed comes, checked against the published schema; properties that later versions add are ignored.
    A record that does not fit the schema is skipped with a warning of the logger `vigil` that names its place; so is a
    notice where `on_notice` is not given. Outages of the brokers are waited out.

    Args:
        bootstrap: addresses of brokers, `host:port`, several with commas.
        topic: the alerts topic; None for the default, `vigil.alerts`.
        group: a consumer group: alerts are shared out among its members, and reading resumes where the group left off.
            An alert counts as handled when the next one is asked for; after a crash the last ones come again, with
            equal ids, and so may some when members come and go. None: every subscriber gets every alert from now on.
        from_beginning: begin with the oldest alert that is kept; with a group, only where it has not begun before.
        zones: only of these zones; empty: of all.
        labels: only with these labels; empty: with all.
        phases: only `opened`, `updated` or `closed`; empty: all.
        on_notice: is called with each notice.
        connection: `security_protocol`, `sasl_mechanism`, `sasl_username`, `sasl_password`, `ssl_cafile`, as the
            settings of these names (docs/settings.md).

    Raises:
        BrokerUnreachableError: if no broker answers at the start.
        TopicMissingError: if there is no such topic.
        SettingsError: if a value of `connection` is refused; a ValueError.
        TypeError: if `connection` has another name, or a filter is a string and not a collection of them.
        ValueError: if a phase is none of the three.
    """
    for name, filtered in (("zones", zones), ("labels", labels), ("phases", phases)):
        if isinstance(filtered, str):
            raise TypeError(f"alerts() expected a collection of {name}, found the string {filtered!r}")
    if not set(phases) <= set(get_args(Phase)):
        raise ValueError(f"alerts() expected phases among {', '.join(get_args(Phase))}, found {sorted(phases)}")
    unknown = sorted(connection.keys() - _CONNECTION)
    if unknown:
        raise TypeError(f"alerts() expected one of {', '.join(sorted(_CONNECTION))}, found {unknown[0]!r}")
    try:
        told = msgspec.convert({"bootstrap": bootstrap, **connection}, Operational)
    except msgspec.ValidationError as error:
        raise SettingsError(str(error)) from error
    return subscribe(
        connection_to(told),
        topic or told.alerts_topic,
        group=group,
        from_beginning=from_beginning,
        wanted=Wanted(zones=frozenset(zones), labels=frozenset(labels), phases=frozenset(phases)),
        on_notice=on_notice,
    )
