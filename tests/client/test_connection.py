"""Addresses, headers, certificates and shared memory."""

import asyncio
import mmap
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from triton_stand_in import StandIn, served

from vera.case.request import CaseRequest
from vera.client.asynchronous import AsyncAnonymizer
from vera.client.connection import Connection
from vera.client.shared_memory import shared
from vera.errors import ServerError, UsageError

_LARGE = (600, 600, 3)  # above what a socket carries as well


@pytest.mark.parametrize(
    ("url", "target", "local"),
    [
        ("grpc://localhost", "localhost:8001", True),
        ("grpc://127.0.0.5:9", "127.0.0.5:9", True),
        ("grpcs://[::1]:9001", "[::1]:9001", True),
        ("http://triton.example", "triton.example:8000", False),
        ("https://triton.example", "triton.example:443", False),
        ("http://10.0.0.1", "10.0.0.1:8000", False),
    ],
)
def test_an_address_says_where_and_whether_it_is_here(url, target, local):
    connection = Connection(url, plaintext=True)
    assert (connection.target, connection.local) == (target, local)


def test_pixels_travel_on_this_machine_only():
    urls = ("grpc://localhost", "http://localhost", "grpc://elsewhere", "http://elsewhere")
    images = [Connection(url, plaintext=True).result_images for url in urls]
    assert images == ["raw", "raw", "png", "png"]


@pytest.mark.parametrize("url", ["grpc://triton.example", "http://10.0.0.1:8000/vera"])
def test_nothing_goes_to_another_machine_unencrypted_unless_that_is_allowed(url):
    with pytest.raises(UsageError, match=r"everybody on the way to .* can read and change"):
        Connection(url)
    with pytest.raises(UsageError, match="use grpcs:// or https://, or allow it"):
        AsyncAnonymizer(url)
    assert Connection(url, plaintext=True).url == url
    assert Connection(url.replace("://", "s://", 1)).secure


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:9"])
def test_on_this_machine_nothing_needs_to_be_encrypted(host):
    assert Connection(f"grpc://{host}").local


def test_a_path_of_a_gateway_is_kept():
    assert Connection("https://host/vera/").base == "https://host:443/vera"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"url": "localhost:8001"}, "no address of a server"),
        ({"url": "ftp://host"}, "no address of a server"),
        ({"url": "grpc://"}, "no address of a server"),
        ({"url": "grpc://host:port"}, "cannot be read"),
        ({"url": "grpc://host/path"}, "more than host and port"),
        ({"url": "http://host?key=1"}, "more than host and port"),
        ({"url": "http://jane:doe@host"}, "must not hold a password"),
        ({"url": "grpc://host", "ca_file": Path("ca.pem")}, "do nothing over grpc://"),
        ({"url": "grpcs://host", "cert_file": Path("c.pem")}, "needs its private key"),
        ({"url": "grpc://localhost", "deadline_s": 0}, "deadline_s must be seconds above 0"),
        ({"url": "grpc://localhost", "retries": -1}, "retries must be 0 or more"),
        ({"url": "grpc://localhost", "headers": (("a", "b\nc"),)}, "a value of one line"),
        ({"url": "grpc://localhost", "headers": (("a b", "c"),)}, "a name of letters, digits"),
    ],
)
def test_what_makes_no_sense_is_told_at_once(options, named):
    with pytest.raises(UsageError, match=named) as raised:
        Connection(**options)
    assert "jane" not in str(raised.value)


def test_headers_are_sent_with_every_request_and_never_printed(stand_in, over, cases, asked):
    headers = (("X-Clinic", "seven"), ("Authorization", "Bearer token"))
    cases(over(stand_in), headers=headers).run(asked)
    assert len(stand_in.metadata) == 2
    for told in stand_in.metadata:
        assert told["x-clinic"] == "seven"
        assert told["authorization"] == "Bearer token"
    assert "token" not in repr(Connection(stand_in.grpc_url, headers=headers))


def test_over_http_nothing_compressed_is_asked_for(stand_in, cases, asked):
    async def asks():
        async with AsyncAnonymizer(stand_in.http_url) as client:
            await client.bundle()

    cases(stand_in.http_url).run(asked)
    asyncio.run(asks())
    assert [told["accept-encoding"] for told in stand_in.metadata] == ["identity"] * 3


@pytest.fixture(scope="session")
def tls(tmp_path_factory) -> SimpleNamespace:
    """A certificate of localhost that signs itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    command += " -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run(
        [*command.split(), "-keyout", key, "-out", cert], check=True, capture_output=True
    )
    return SimpleNamespace(key=key, cert=cert)


def test_an_encrypted_server_is_believed_by_its_authority_alone(tls, over, cases, asked):
    with StandIn(tls=tls) as server:
        assert len(cases(over(server), ca_file=tls.cert).run(asked)) == 1
        with pytest.raises(ServerError, match="is not trusted"):
            cases(over(server)).run(asked)


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_a_missing_certificate_is_told_without_its_name(cases, tmp_path, scheme):
    with pytest.raises(UsageError, match="certificate or key cannot be read") as raised:
        cases(f"{scheme}://localhost", ca_file=tmp_path / "jane.pem")
    assert "jane" not in str(raised.value)


@pytest.fixture
def large() -> CaseRequest:
    image = np.random.default_rng(0).integers(0, 256, _LARGE).astype(np.uint8)
    return CaseRequest([image, image[:50]], seed=5)


def vera_regions() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob(f"vera_client_{os.getpid()}_*")}


def test_large_images_go_through_memory_that_has_no_name_any_more(stand_in, cases, large):
    before, during = vera_regions(), []

    def looks(request, gone):
        during.append(vera_regions())
        yield from served(request, gone)

    stand_in.answer = looks
    results = cases(stand_in.grpc_url).run(large)
    assert np.array_equal(results[0].image[-100:], large.photos[0][-100:])
    assert len(stand_in.registered) == 1
    assert stand_in.regions == {}
    assert during == [before]
    assert all(len(sent) < 10_000 for sent in stand_in.sent)


def test_a_server_that_forbids_shared_memory_gets_the_pixels_in_the_message(cases, large):
    with StandIn(shares=False) as server:
        client = cases(server.grpc_url)
        results = [client.run(large) for _ in range(2)]
        assert server.registered == []
        assert server.offered == 1
        assert np.array_equal(results[1][0].image[-100:], large.photos[0][-100:])
    assert not vera_regions()


def test_without_leave_nothing_is_shared(stand_in, cases, large):
    cases(stand_in.grpc_url, shared_memory="never").run(large)
    assert stand_in.registered == []


def test_a_failed_case_leaves_no_memory_behind(stand_in, cases, large):
    def breaks(request, gone):
        raise RuntimeError("broken")
        yield

    stand_in.answer = breaks
    before = vera_regions()
    with pytest.raises(Exception, match="unexpected RuntimeError"):
        cases(stand_in.grpc_url).run(large)
    assert stand_in.regions == {}
    assert vera_regions() == before


def test_nothing_is_in_shared_memory_while_it_has_a_name(stand_in, cases, large):
    cases(stand_in.grpc_url).run(large)
    (seen,) = stand_in.registered
    assert seen == bytes(len(seen))
    assert len(seen) > 1_000_000


def test_shared_memory_is_private_and_zeroed_in_the_end(tmp_path):
    with shared(7, tmp_path) as region:
        path = tmp_path / region.name
        assert path.stat().st_mode & 0o777 == 0o600
        with path.open("r+b") as file:
            seen = mmap.mmap(file.fileno(), region.size)
        region.write([b"jane", b"doe"])
        assert seen[:] == b"janedoe"
    assert seen[:] == bytes(7)
    assert not path.exists()


def test_a_machine_without_shared_memory_is_no_error(tmp_path):
    with shared(4, tmp_path / "nowhere") as region:
        assert region is None


@pytest.mark.parametrize(
    ("url", "missing"),
    [("grpcs://a", "tritonclient.grpc"), ("https://a", "httpx"), ("https://a", "tenacity")],
)
def test_a_missing_package_is_told_with_the_way_to_get_it(cases, monkeypatch, url, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError, match=r'pip install "vera\[client\]"'):
        cases(url)
