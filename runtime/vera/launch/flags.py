"""The command line of tritonserver: safe by default, and only what this version knows."""

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from vera.errors import ServerError, UsageError
from vera.launch.options import ServeOptions
from vera.launch.ports import Ports, bracketed

KEY_HEADER = "vera-admin-key"  # gRPC puts "triton-grpc-protocol-" before it

# What changes a server or shows what others send: model control loads code, client shared memory
# reads and writes memory by name, traces and verbose logs hold tensors.
RESTRICTED = ("model-repository", "trace", "logging")
SHARED_MEMORY = "shared-memory"

# Responses of a decoupled request that may wait for a slow client, where the server can say so.
_RESPONSE_POOL = 64

# Bytes of shared memory between server and each Python model at the start, and by which it grows.
_SHM_BYTES = 4 * 2**20

# Without these no server of ours is started: each stands for a promise of docs/serving.md.
_NEEDED = frozenset(
    {
        *("model-control-mode", "disable-auto-complete-config", "strict-readiness"),
        *("exit-on-error", "http-restricted-api", "grpc-restricted-protocol", "metrics-address"),
    }
)


@dataclass(frozen=True, slots=True)
class Place:
    """What the server sees where it runs.

    Attributes:
        repository: Folder of the models.
        host: Address to listen at for gRPC.
        http_host: For HTTP.
        metrics_host: For the metrics.
        tls: Certificate, key and, with mutual TLS, authorities; empty without TLS.
        shm_prefix: Of the names of its shared memory.
        backends: Folder of its back ends; None is its own choice.
        caches: Folder of its caches; None is its own choice.
    """

    repository: Path
    host: str
    http_host: str
    metrics_host: str
    tls: tuple[Path, ...]
    shm_prefix: str
    backends: Path | None = None
    caches: Path | None = None


def known_flags(help_text: str) -> frozenset[str]:
    """The flags that ``tritonserver --help`` tells, without their dashes.

    Raises:
        ServerError: It lacks one that we do not do without.
    """
    known = frozenset(re.findall(r"^\s*--([a-z0-9-]+)", help_text, re.MULTILINE))
    if not known:
        raise ServerError("The server does not tell its options; see whether it runs at all.")
    if not known >= _NEEDED:
        raise ServerError(
            f"The server is too old: it has no --{sorted(_NEEDED - known)[0]}; use NVIDIA's "
            "container 26.07 or newer."
        )
    return known


def build_flags(
    options: ServeOptions, ports: Ports, place: Place, known: frozenset[str]
) -> list[str]:
    """The flags for one server.

    Args:
        options: How it is served.
        ports: Where it listens.
        place: What it sees.
        known: Flags of this version.

    Raises:
        UsageError: The file of the key for the restricted interfaces is none.
    """
    given = [*_models(options, place), *_network(ports, place), *_closed(options)]
    optional = {
        "http-max-input-size": options.http_bytes,
        "grpc-max-response-pool-size": _RESPONSE_POOL,
        "allow-client-shm": _bool(options.allow_client_shm),
        "allow-sagemaker": "false",
        "allow-vertex-ai": "false",
    }
    return given + [f"--{name}={value}" for name, value in optional.items() if name in known]


def _models(options: ServeOptions, place: Place) -> Iterator[str]:
    yield f"--model-repository={place.repository}"
    yield "--model-control-mode=none"
    yield "--disable-auto-complete-config"
    yield "--strict-readiness=true"
    yield "--exit-on-error=true"
    yield f"--exit-timeout-secs={ceil(options.drain_seconds)}"
    yield f"--backend-config=python,shm-region-prefix-name={place.shm_prefix}"
    yield f"--backend-config=python,shm-default-byte-size={_SHM_BYTES}"
    yield f"--backend-config=python,shm-growth-byte-size={_SHM_BYTES}"
    if place.backends is not None:
        yield f"--backend-directory={place.backends}"
    if place.caches is not None:
        yield f"--cache-directory={place.caches}"


def _network(ports: Ports, place: Place) -> Iterator[str]:
    yield f"--http-address={_evhtp(place.http_host)}"
    yield f"--http-port={ports.http}"
    yield f"--grpc-address={bracketed(place.host)}"
    yield f"--grpc-port={ports.grpc}"
    yield f"--metrics-address={_evhtp(place.metrics_host)}"
    yield f"--metrics-port={ports.metrics}"
    if place.tls:
        certificate, key, *authorities = place.tls
        yield "--grpc-use-ssl=true"
        yield f"--grpc-server-cert={certificate}"
        yield f"--grpc-server-key={key}"
        if authorities:
            yield "--grpc-use-ssl-mutual=true"
            yield f"--grpc-root-cert={authorities[0]}"


def _evhtp(host: str) -> str:
    """An address as Triton's HTTP library (libevhtp) tells the two kinds apart."""
    return f"ipv6:{host}" if ":" in host else host


def _closed(options: ServeOptions) -> Iterator[str]:
    """Interfaces that only the holder of the key may use; gRPC and HTTP call them the same."""
    # Before --allow-client-shm there was no other way to close it.
    closed = RESTRICTED if options.allow_client_shm else (*RESTRICTED, SHARED_MEMORY)
    rule = f"{','.join(closed)}:{KEY_HEADER}={_key(options.restrict_key_file)}"
    yield f"--http-restricted-api={rule}"
    yield f"--grpc-restricted-protocol={rule}"


def _key(file: Path | None) -> str:
    if file is None:
        return secrets.token_urlsafe(32)
    try:
        key = (file.read_text(encoding="utf-8").splitlines() or [""])[0].strip()
    except (OSError, ValueError) as error:
        raise UsageError(
            "The file of --restrict-key-file cannot be read; pass a text file with the key."
        ) from error
    if len(key) < 16 or not re.fullmatch(r"[A-Za-z0-9_.~+/-]+", key):
        raise UsageError(
            "The file of --restrict-key-file must hold a key of at least 16 letters, digits or "
            f"_.~+/-, got {len(key)} characters; make one with: openssl rand -hex 32."
        )
    return key


def _bool(value: bool) -> str:
    return "true" if value else "false"
