"""The flags of a server: ``--url`` and how it is reached."""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vera.check import Row
from vera.commands.parsing import count
from vera.errors import UsageError

if TYPE_CHECKING:
    from vera.client.connection import Connection

# Flags besides --url, and the fields of a connection that they fill.
_FIELDS = {
    "retries": "retries",
    "deadline": "deadline_s",
    "header": "headers",
    "tls_ca": "ca_file",
    "tls_cert": "cert_file",
    "tls_key": "key_file",
    "plaintext": "plaintext",
}


def add_connection(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a server."""
    add = parser.add_argument_group("on a server").add_argument
    add("--url", help="have a server do it: grpc://host:8001 or http://host:8000, or with TLS")
    add("--retries", type=count, help="how often a case is sent again; default: 5")
    add(
        "--deadline",
        type=float,
        metavar="SECONDS",
        help="of each case with all its retries; default: none",
    )
    add_access(add)


def add_access(add: Callable[..., object]) -> None:
    """Adds, by a group's ``add_argument``, the flags of what lets a client in."""
    add(
        "--header",
        action="append",
        metavar="NAME:VALUE",
        help="sent along, as a gateway may ask for; NAME:@FILE takes the value from a file, which "
        "other users of this machine cannot see; may be repeated",
    )
    add("--tls-ca", type=Path, metavar="PEM", help="authorities to trust; default: the system's")
    add("--tls-cert", type=Path, metavar="PEM", help="certificate of yours, if the server asks")
    add("--tls-key", type=Path, metavar="PEM", help="its private key")
    add(
        "--plaintext",
        action="store_const",
        const=True,
        help="let photographs go to another machine unencrypted, over grpc:// or http://",
    )


def connection_of(args: argparse.Namespace, *local: str) -> "Connection | None":
    """The server of the flags; None without ``--url``.

    Args:
        args: The parsed flags.
        local: Flags that say how the work is done here, and do not go with a server.

    Raises:
        UsageError: Flags do not fit together, or a value makes no sense.
    """
    flags = vars(args)
    given = {flag: flags[flag] for flag in _FIELDS if flags.get(flag) is not None}
    if args.url is None:
        if given:
            flag = next(iter(given)).replace("_", "-")
            raise UsageError(f"--{flag} does nothing without --url; give both or none.")
        return None
    for flag in local:
        if getattr(args, flag.removeprefix("--").replace("-", "_")):
            raise UsageError(
                f"{flag} does nothing with --url: the server has its own; leave one of them out."
            )
    from vera.client.connection import Connection

    options: dict[str, Any] = {_FIELDS[flag]: value for flag, value in given.items()}
    if "headers" in options:
        options["headers"] = tuple(map(_header, options["headers"]))
    return Connection(args.url, **options)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise UsageError("--header needs a name and a value; write NAME:VALUE or NAME:@FILE.")
    value = value.strip()
    if value.startswith("@"):
        try:
            value = Path(value[1:]).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"The file of a header cannot be read ({type(error).__name__}); check its path."
            ) from error
    return name.strip(), value


def server_rows(connection: "Connection") -> Sequence[Row]:
    """What a server says of itself, and what its deep check found.

    Raises:
        VeraError: It cannot be asked.
    """
    from contextlib import closing

    from vera.client.remote import RemoteCases

    with closing(RemoteCases(connection)) as cases:
        server = cases.server
        limits = dataclasses.asdict(server.limits)
        return [
            Row("server", f"vera {server.vera}, protocol {server.protocol}"),
            Row("bundle", f"{server.bundle.name} {server.bundle.version}"),
            Row("contract", f"version {server.contract}, the client's"),
            Row("at once", f"{server.slots} cases in work, {server.queue} more in its queue"),
            Row("limits", ", ".join(f"{name} {int(value):,}" for name, value in limits.items())),
            *(Row(f"server {row.name}", row.value, row.ok) for row in cases.check()),
        ]
