"""Ports of a server: free ones found, taken ones told before the server trips over them."""

import ipaddress
import socket
from contextlib import ExitStack
from dataclasses import dataclass

from vera.errors import UsageError
from vera.launch.options import ServeOptions


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a server listens."""

    http: int
    grpc: int
    metrics: int


def bracketed(host: str) -> str:
    """An address as it stands before a colon and a port."""
    return f"[{host}]" if ":" in host else host


def choose_ports(options: ServeOptions) -> Ports:
    """The ports of ``options``, 0 replaced by free ones.

    A port is free when this is called; nothing keeps another process from taking it afterwards.

    Raises:
        UsageError: One is taken, or the address is not of this machine.
    """
    wanted = (options.http_port, options.grpc_port, options.metrics_port)
    hosts = (options.host, options.host, options.metrics_host)
    with ExitStack() as held:  # held together, so that free ones differ
        # Fixed ones first: a free one must not be one of them.
        found = {
            place: _bound(held, hosts[place], wanted[place])
            for place in sorted(range(3), key=lambda place: wanted[place] == 0)
        }
    return Ports(*(found[place] for place in range(3)))


def _bound(held: ExitStack, host: str, port: int) -> int:
    version = ipaddress.ip_address(host).version
    listening = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6)
    held.enter_context(listening)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
    try:
        listening.bind((host, port))
        listening.listen()  # with SO_REUSEADDR only this tells that somebody listens
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"Port {port} of {host} cannot be had ({getattr(error, 'strerror', None) or error}); "
            "stop what listens there, or pass another port, 0 for a free one."
        ) from error
    return int(listening.getsockname()[1])
