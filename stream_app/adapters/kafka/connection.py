"""How to reach the brokers: addresses, protocol and credentials, as the arguments that aiokafka's clients take."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from aiokafka.helpers import create_ssl_context

#: The largest request the producer sends: an 8 MiB record of the inputs must fit into the dead letters.
MAX_REQUEST_BYTES = 9 * 1024 * 1024


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses and credentials. ``ssl_cafile`` is a PEM file of the authorities that are trusted.

    ``batch_bytes`` is the memory that one batch of records may take once it is unpacked; a larger one is not read.
    ``client_id`` is the name under which the brokers see this process, in their logs and quotas; empty: the client's.
    """

    bootstrap: str
    client_id: str
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
    sasl_mechanism: str
    sasl_username: str | None
    sasl_password: str | None
    ssl_cafile: str | None
    batch_bytes: int

    def client_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments that every aiokafka client (consumer, producer, admin) takes."""
        arguments: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": self.security_protocol,
        }
        if self.client_id:
            arguments["client_id"] = self.client_id
        if "SASL" in self.security_protocol:
            arguments["sasl_mechanism"] = self.sasl_mechanism
            arguments["sasl_plain_username"] = self.sasl_username
            arguments["sasl_plain_password"] = self.sasl_password
        if "SSL" in self.security_protocol:
            arguments["ssl_context"] = create_ssl_context(cafile=self.ssl_cafile)
        return arguments
