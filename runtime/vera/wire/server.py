"""What a server says of itself, and what a client may find different."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from vera.contract import CONTRACT_VERSION
from vera.errors import ServerError
from vera.wire.built import built
from vera.wire.tensors import PROTOCOL


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes; all of it is checked before anything is decoded.

    Attributes:
        bytes: Of one photograph or mask as it is sent.
        pixels: Of one photograph.
        photos: Of one case.
        variants: Of one case.
        steps: Of an inversion.
        seconds: From the request's arrival to its end.
        case_bytes: Of the photographs and masks of one case.
        case_pixels: Of the photographs of one case, times its variants: what it makes.
        queue_bytes: Of the photographs and masks of all cases that wait or are in work; what comes
            on top is told to come later.
    """

    bytes: int = 100_000_000
    pixels: int = 50_000_000
    photos: int = 16
    variants: int = 8
    steps: int = 400
    seconds: float = 300.0
    case_bytes: int = 400_000_000
    case_pixels: int = 400_000_000
    queue_bytes: int = 2_000_000_000


@dataclass(frozen=True, slots=True)
class ServedBundle:
    """The networks of a server; as :class:`vera.bundle.Bundle`, as far as a client needs it.

    Attributes:
        name: Of the release.
        version: Of the release.
        digest: sha256 of the manifest.
        hashes: sha256 of each engine, hexadecimal.
    """

    name: str
    version: str
    digest: str
    hashes: Mapping[str, str]

    @property
    def engines(self) -> tuple[str, ...]:
        """Names of the engines that it has."""
        return tuple(self.hashes)


@dataclass(frozen=True, slots=True)
class ServerContract:
    """The answer to the task ``describe``.

    Attributes:
        bundle: The networks.
        limits: What one request may ask for.
        slots: How many cases are in work at once.
        queue: How many further ones wait.
        vera: Version of the package.
        protocol: Of the messages.
        contract: Of the engines.
    """

    bundle: ServedBundle
    limits: Limits = field(default_factory=Limits)
    slots: int = 1
    queue: int = 0
    vera: str = ""
    protocol: int = PROTOCOL
    contract: int = CONTRACT_VERSION

    def to_json(self) -> dict[str, Any]:
        """As the event carries it."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """The contract of an event; fields that this version does not know are left out.

        Raises:
            ServerError: It is none.
        """
        try:
            bundle, limits = built(ServedBundle, told["bundle"]), built(Limits, told["limits"])
            contract: Self = built(cls, {**told, "bundle": bundle, "limits": limits})
            return contract
        except (KeyError, TypeError, AttributeError) as error:
            raise ServerError(
                "The server describes itself in a way that is not understood; update the older of "
                "client and server."
            ) from error


def differences(server: ServerContract, bundle: str | None = None) -> list[str]:
    """In which ways a server is not what a client needs; empty if it is.

    Args:
        server: What it says of itself.
        bundle: Digest of the only bundle that will do; None takes any.
    """
    found = []
    if server.protocol != PROTOCOL:
        found.append(f"protocol {server.protocol}, not {PROTOCOL}")
    if server.contract != CONTRACT_VERSION:
        found.append(f"engine contract {server.contract}, not {CONTRACT_VERSION}")
    if bundle is not None and server.bundle.digest != bundle:
        found.append(f"bundle {server.bundle.digest[:12]}, not {bundle[:12]}")
    return found
