"""The real server, one for all tests; tests that kill or stop one make their own."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_service
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
ROOMY_QUEUE = 40
MODELS = ("anonymize", "detector", "embedder", "generator_forward", "generator_backward")


@pytest.fixture(scope="session")
def needs_server() -> None:
    """Skips what has no server to test with."""
    real_triton.require()


@pytest.fixture(scope="session")
def rendered(needs_server: None, tmp_path_factory: pytest.TempPathFactory):
    """Renders a repository of the package's bundle with small limits and these options."""
    from vera_export.repository.options import RepositoryOptions
    from vera_export.repository.render import render

    def rendered(**options: int) -> Path:
        folder = tmp_path_factory.mktemp("repository") / "models"
        render(folder, None, RepositoryOptions(limits=LIMITS, progress_every=1, **options))
        return folder

    return rendered


@pytest.fixture(scope="session")
def repository(rendered: Callable[..., Path]) -> Path:
    """What most tests need of a server."""
    return rendered(slots=SLOTS, queue=QUEUE, threads=1)


@pytest.fixture(scope="session")
def server(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[real_triton.RealTriton]:
    """The server of all tests that leave it as it was."""
    with real_triton.RealTriton(repository, MODELS, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def started(
    needs_server: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., real_triton.RealTriton]]:
    """Starts servers for faults; killed at the end, for to stop one in order takes seconds."""
    running = []

    def started(repository: Path, **how) -> real_triton.RealTriton:
        work = tmp_path_factory.mktemp("server")
        running.append(real_triton.RealTriton(repository, ("anonymize",), work, **how))
        return running[-1]

    yield started
    for server in running:
        server.kill()


@pytest.fixture(scope="session")
def roomy(
    rendered: Callable[..., Path], started: Callable[..., real_triton.RealTriton]
) -> real_triton.RealTriton:
    """A server with a long queue, to which things are done that it has to survive."""
    return started(rendered(slots=SLOTS, queue=ROOMY_QUEUE, threads=2))


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


@pytest.fixture
def serve():
    """Makes services without Triton and closes them, see ``fake_service.service_over``."""
    made = []

    def serve(work, **options):
        made.append(fake_service.service_over(work, **options))
        return made[-1]

    yield serve
    for service in made:
        service.close()
