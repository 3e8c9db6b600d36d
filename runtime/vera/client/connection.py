"""How a server is reached: its address, how long is waited, how often is tried again."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from vera.errors import UsageError

Images = Literal["auto", "png", "raw"]
SharedMemory = Literal["auto", "never"]

# Triton's own ports.
_PORTS: Mapping[str, int] = {"grpc": 8001, "grpcs": 8001, "http": 8000, "https": 443}
_HEADER = re.compile(r"[A-Za-z0-9_.-]+")
_EXAMPLE = "write it as grpc://host:8001 or http://host:8000"


@dataclass(frozen=True, slots=True)
class Connection:
    """A server, and the manners of a client.

    Attributes:
        url: ``grpc://``, ``grpcs://``, ``http://`` or ``https://``, host and port; for HTTP a path
            may follow, as gateways have.
        deadline_s: Seconds that a case may take with all its retries; None: as long as it takes.
        connect_timeout_s: Seconds until a server that does not answer counts as not there.
        retries: How often a case is sent again after a server was busy or broke off.
        retry_budget: How many retries all cases of a client have in hand together; cases that go
            well fill it up again. An outage costs this many retries, not as many as there are
            cases.
        backoff_s: Longest wait before the first retry; it doubles with each further one.
        headers: Names and values sent along, such as a gateway asks for.
        ca_file: PEM of the authorities that are trusted; None takes the system's.
        cert_file: PEM of the client's own certificate, if the server asks for one.
        key_file: PEM of its private key.
        shared_memory: ``"auto"`` hands large images to a server on this machine by shared memory,
            if it allows that.
        images: How results travel: ``"auto"`` sends pixels on this machine and PNG elsewhere.
        plaintext: That photographs, keys and headers may go to another machine unencrypted.

    Raises:
        UsageError: A value makes no sense.
    """

    url: str
    deadline_s: float | None = None
    connect_timeout_s: float = 10.0
    retries: int = 5
    retry_budget: int = 20
    backoff_s: float = 1.0
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    shared_memory: SharedMemory = "auto"
    images: Images = "auto"
    plaintext: bool = False

    def __post_init__(self) -> None:
        """Checks what the types cannot hold."""
        parts = _split(self.url)
        tls = self.ca_file or self.cert_file or self.key_file
        if tls and parts.scheme not in ("grpcs", "https"):
            raise UsageError(
                f"Certificates do nothing over {parts.scheme}://; use grpcs:// or https://."
            )
        if not (self.secure or self.local or self.plaintext):
            raise UsageError(
                f"Over {parts.scheme}:// everybody on the way to {parts.hostname} can read and "
                "change photographs; use grpcs:// or https://, or allow it (--plaintext, in Python "
                "plaintext=True) in a network of your own."
            )
        if (self.cert_file is None) != (self.key_file is None):
            raise UsageError(
                "A client's certificate needs its private key, and the other way round; give both."
            )
        for name in ("deadline_s", "connect_timeout_s", "backoff_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"{name} must be seconds above 0, got {value}; leave it out.")
        for name in ("retries", "retry_budget"):
            if getattr(self, name) < 0:
                raise UsageError(
                    f"{name} must be 0 or more, got {getattr(self, name)}; 0 tries once."
                )
        for header, value in self.headers:
            if not _HEADER.fullmatch(header) or not (value.isascii() and value.isprintable()):
                raise UsageError(
                    "A header needs a name of letters, digits and hyphens, and a value of one line "
                    "in ASCII; write Name:value."
                )

    @property
    def over_http(self) -> bool:
        """Whether it is HTTP, not gRPC."""
        return _split(self.url).scheme.startswith("http")

    @property
    def secure(self) -> bool:
        """Whether it is encrypted."""
        return _split(self.url).scheme in ("grpcs", "https")

    @property
    def target(self) -> str:
        """Host and port."""
        parts = _split(self.url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{host}:{parts.port or _PORTS[parts.scheme]}"

    @property
    def base(self) -> str:
        """The address that HTTP paths are put behind."""
        parts = _split(self.url)
        return f"{parts.scheme}://{self.target}{parts.path.rstrip('/')}"

    @property
    def local(self) -> bool:
        """Whether the server is on this machine."""
        host = _split(self.url).hostname or ""
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    @property
    def result_images(self) -> Literal["png", "raw"]:
        """How results are asked for."""
        if self.images == "auto":
            return "raw" if self.local else "png"
        return self.images


def _split(url: str) -> SplitResult:
    """The parts of an address.

    Raises:
        UsageError: It is none.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"The address of the server cannot be read; {_EXAMPLE}.") from error
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            "The address of the server must not hold a password; send one as a header."
        )
    if parts.scheme not in _PORTS or not parts.hostname or port == 0:
        raise UsageError(f"'{url}' is no address of a server; {_EXAMPLE}.")
    if parts.query or parts.fragment or (parts.path.strip("/") and "grpc" in parts.scheme):
        raise UsageError(f"'{url}' says more than host and port; {_EXAMPLE}.")
    return parts
