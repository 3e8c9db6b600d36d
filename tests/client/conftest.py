from collections.abc import Iterator

import numpy as np
import pytest
from triton_stand_in import StandIn

from vera.case.request import CaseRequest
from vera.client.connection import Connection
from vera.client.remote import RemoteCases

SIDE = 40


def drawn(seed: int = 0, side: int = SIDE) -> np.ndarray:
    """An image of nobody: uint8 [side, side, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


@pytest.fixture
def image() -> np.ndarray:
    return drawn()


@pytest.fixture
def asked(image) -> CaseRequest:
    return CaseRequest([image], seed=5)


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


@pytest.fixture
def cases() -> Iterator:
    """Opens clients: ``cases(url, **options of the connection)``; they are closed at the end."""
    clients = []

    def opened(url: str, **options) -> RemoteCases:
        clients.append(RemoteCases(Connection(url, **{"backoff_s": 0.01, **options})))
        return clients[-1]

    yield opened
    for client in clients:
        client.close()


@pytest.fixture(params=["grpc", "http"])
def over(request):
    """The address of a server, once for each way to it."""
    return lambda server: server.grpc_url if request.param == "grpc" else server.http_url
