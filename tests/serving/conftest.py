"""The real server, one for all tests; tests that kill or stop one make their own."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import local_case
import numpy as np
import plain_client
import pytest
import real_triton
from PIL import Image

from vera.wire.request import WirePhoto, WireRequest
from vera.wire.server import Limits

LIMITS = Limits(bytes=2_000_000, pixels=1_000_000, photos=2, variants=2, steps=400, seconds=60)
SLOTS, QUEUE = 2, 1
MODELS = ("anonymize", "detector", "embedder", "generator_forward", "generator_backward")


@pytest.fixture(scope="session")
def needs_server() -> None:
    """Skips what has no server to test with."""
    if real_triton.python() is None:
        told = f"no server: set {real_triton.VARIABLE}"
        if os.environ.get("VERA_REQUIRE_TRITON") == "1":
            pytest.fail(told)
        pytest.skip(told)


@pytest.fixture(scope="session")
def repository(needs_server: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the package's bundle with small limits."""
    from vera_export.repository.options import RepositoryOptions
    from vera_export.repository.render import render

    folder = tmp_path_factory.mktemp("repository") / "models"
    options = RepositoryOptions(
        slots=SLOTS, queue=QUEUE, threads=1, limits=LIMITS, progress_every=1
    )
    render(folder, None, options)
    return folder


@pytest.fixture(scope="session")
def server(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[real_triton.RealTriton]:
    """The server of all tests that leave it as it was."""
    with real_triton.RealTriton(repository, MODELS, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def own_server(repository: Path, tmp_path: Path) -> Iterator[real_triton.RealTriton]:
    """A server that a test may kill."""
    with real_triton.RealTriton(repository, ("anonymize",), tmp_path) as running:
        yield running


@pytest.fixture
def client(server: real_triton.RealTriton) -> Iterator[plain_client.PlainClient]:
    made = plain_client.PlainClient(server.grpc)
    yield made
    made.close()


@pytest.fixture(scope="session")
def portrait() -> np.ndarray:
    """uint8 [256, 256, 3] with one face."""
    from skimage import data

    whole = data.astronaut()[0:300, 70:370]
    return np.asarray(Image.fromarray(whole).resize((256, 256), Image.Resampling.LANCZOS))


@pytest.fixture(scope="session")
def photo_file(portrait: np.ndarray) -> bytes:
    """The portrait as the bytes of a PNG file."""
    encoded = io.BytesIO()
    Image.fromarray(portrait).save(encoded, "PNG")
    return encoded.getvalue()


@pytest.fixture
def case(photo_file: bytes):
    """A cheap case; arguments replace fields of the request."""
    from vera.settings import Settings

    def case(*photos: WirePhoto, steps: int = 1, settings=None, **changes) -> WireRequest:
        asked = Settings(**{"steps": steps, **(settings or {})})
        return WireRequest(
            photos=photos or (WirePhoto(photo_file),), settings=asked, **{"seed": 7, **changes}
        )

    return case


@pytest.fixture(scope="session")
def mask_file() -> bytes:
    """A mask of the portrait's size that keeps a patch of the face, as the bytes of a PNG file."""
    marked = np.zeros((256, 256), np.uint8)
    marked[112:132, 110:145] = 255
    encoded = io.BytesIO()
    Image.fromarray(marked).save(encoded, "PNG")
    return encoded.getvalue()


@pytest.fixture(scope="session")
def in_process(needs_server, photo_file, portrait, mask_file, tmp_path_factory):
    """A single case and a paired one with two variants, by the server's own libraries."""
    single = {"photos": [photo_file], "keep": "mouth", "seed": 7, "steps": 2}
    pair = {"photos": [photo_file, photo_file], "keep": ["mouth", mask_file]}
    cases = [single, {**pair, "seed": 11, "steps": 1, "variants": 2}]
    return local_case.run(real_triton.python(), cases, tmp_path_factory.mktemp("local"))
