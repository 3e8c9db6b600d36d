"""How a model repository is served."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from vera.errors import UsageError

AUTO, BUNDLED, DOCKER, PODMAN = "auto", "bundled", "docker", "podman"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens at this address."""
    return ipaddress.ip_address(host).is_loopback


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How a model repository is served.

    Attributes:
        host: Address to listen at; all but the loopback ones reach beyond this machine.
        http_port: Port of HTTP; 0 takes a free one, as for the others.
        grpc_port: Port of gRPC.
        metrics_port: Port of the metrics.
        metrics_host: Address of the metrics, which Triton never encrypts.
        server: ``auto``, ``bundled``, ``docker``, ``podman``, or the path of a tritonserver.
        python: Interpreter whose environment runs the Python models, and has nvidia-pytriton for
            ``bundled``; None takes this process's.
        image: Container image, with VerA in it.
        gpus: What a container is given, as ``docker run --gpus`` takes it.
        start_seconds: How long the server may take until it is ready.
        drain_seconds: How long cases in work may take when the server is stopped.
        http_bytes: Largest body of an HTTP request, where the server has such a limit.
        allow_client_shm: Whether clients on this machine may hand over shared memory.
        restrict_key_file: File whose first line opens the restricted interfaces; without one,
            nobody has the key.
        tls_cert: Certificate of the server, PEM; turns TLS on for gRPC.
        tls_key: Its key, PEM.
        tls_ca: Certificates that clients must be signed by, PEM; turns mutual TLS on.
    """

    host: str = "127.0.0.1"
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    metrics_host: str = "127.0.0.1"
    server: str = AUTO
    python: Path | None = None
    image: str | None = None
    gpus: str | None = None
    start_seconds: float = 300.0
    drain_seconds: float = 60.0
    http_bytes: int = 2**28
    allow_client_shm: bool = False
    restrict_key_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what no server could be started with.

        Raises:
            UsageError: The address is none, ports clash, half of a TLS pair is missing.
        """
        for flag, host in (("--host", self.host), ("--metrics-host", self.metrics_host)):
            try:
                ipaddress.ip_address(host)
            except ValueError as error:
                raise UsageError(
                    f"{flag} must be an address such as 127.0.0.1 or 0.0.0.0, got {host!r}."
                ) from error
        ports = (self.http_port, self.grpc_port, self.metrics_port)
        fixed = [port for port in ports if port]
        if len(set(fixed)) < len(fixed) or not all(0 <= port < 2**16 for port in ports):
            raise UsageError(
                f"The three ports must differ and lie between 0 (a free one) and 65535, got "
                f"{ports}; choose others."
            )
        if (self.tls_cert is None) != (self.tls_key is None) or (self.tls_ca and not self.tls_cert):
            raise UsageError("TLS needs --tls-cert and --tls-key, got one of them; pass both.")
        for name, value in (("start", self.start_seconds), ("drain", self.drain_seconds)):
            if not 0 <= value < 86400:
                raise UsageError(f"--{name}-seconds must be between 0 and 86400, got {value}.")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can send photographs to the server."""
        return is_loopback(self.host)

    @property
    def tls_files(self) -> tuple[Path, ...]:
        """The files of TLS that are given."""
        return tuple(file for file in (self.tls_cert, self.tls_key, self.tls_ca) if file)
