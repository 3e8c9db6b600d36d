"""nginx.conf in a real nginx, between clients and stand-ins of Triton."""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

ROOT = Path(__file__).parents[2]
SERVICE = "/inference.GRPCInferenceService"

pytestmark = pytest.mark.skipif(
    not (shutil.which("nginx") and shutil.which("openssl")),
    reason="needs nginx and openssl, which are no Python packages",
)


def replaced(text, *pairs):
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


class Upstream(BaseHTTPRequestHandler):
    """Stands for Triton's HTTP: says how much it was sent."""

    def do_GET(self):
        self._answer(b"0")

    def do_POST(self):
        self._answer(str(len(self.rfile.read(int(self.headers["content-length"])))).encode())

    def _answer(self, body):
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def grpc_upstream():
    """Stands for Triton's gRPC: every method of the service gives back what it is sent."""
    import grpc

    class Echo(grpc.GenericRpcHandler):
        def service(self, _):
            return grpc.stream_stream_rpc_method_handler(lambda requests, _: requests)

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Echo()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(holds):
    for _ in range(200):
        if holds():
            return
        time.sleep(0.05)
    pytest.fail("it did not come about within 10 s")


def documented(start, count):
    """The lines for certificates in the block of docs/deployment.md that begins so."""
    text = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
    block = re.search(rf"```bash\n({start}.*?)```", text, re.DOTALL)[1]
    lines = re.findall(r"^(?:openssl|printf) (?:.*\\\n)*.*$", block, re.MULTILINE)
    assert len(lines) == count
    return lines


def run(lines, folder, who="radiology"):
    """Runs documented lines, for another client than the documented one if so named."""
    script = "\n".join(lines).replace("radiology", who)
    subprocess.run(["bash", "-ec", script], cwd=folder, check=True, capture_output=True)


def own_certificate(folder, name):
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
            *("ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt")),
        ],
        check=True,
        capture_output=True,
    )


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """The real nginx with the real file but for addresses, folders and the older `http2`."""
    folder = tmp_path_factory.mktemp("gateway")
    lines = documented("mkdir", 5)  # an authority, its list, a client that it signed
    run(lines, folder)
    for who in ("other", "gone"):
        run([line for line in lines if "radiology" in line], folder, who)
    for name in ("tls", "stranger"):
        own_certificate(folder, name)
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    Thread(target=upstream.serve_forever, daemon=True).start()
    port = free_port()
    text = (ROOT / "deploy/gateway/nginx.conf").read_text(encoding="utf-8")
    with grpc_upstream() as grpc_port:
        text = replaced(
            text,
            ("listen 8443 ssl;", f"listen 127.0.0.1:{port} ssl http2;"),
            ("http2 on;", ""),
            ("/tmp/", f"{folder}/"),  # first: the folder may lie in /tmp itself
            *(
                (f"/run/secrets/{name}", f"{folder}/{name.replace('_', '.')}")
                for name in ("tls_crt", "tls_key", "clients_crt", "clients_crl")
            ),
            ("set $vera vera;", "set $vera 127.0.0.1;"),
            (":8000", f":{upstream.server_port}"),
            (":8001", f":{grpc_port}"),
            ("access_log /dev/stdout", f"access_log {folder}/access.log"),
            ("error_log /dev/stderr crit", f"error_log {folder}/error.log warn"),
            ("worker_processes auto;", "worker_processes 1; daemon off;"),
        )
        file = folder / "nginx.conf"
        file.write_text(text, encoding="utf-8")
        with subprocess.Popen(["nginx", "-c", str(file), "-e", "stderr"]) as process:
            try:
                until(lambda: listens(port))
                yield folder, port
            finally:
                process.terminate()
        upstream.shutdown()
        upstream.server_close()


def ask(gateway, path, *, who="radiology", method="GET", body=None):
    folder, port = gateway
    context = ssl.create_default_context(cafile=str(folder / "tls.crt"))
    if who:
        context.load_cert_chain(folder / f"{who}.crt", folder / f"{who}.key")
    connection = HTTPSConnection("localhost", port, context=context, timeout=20)
    try:
        connection.request(method, path, body=body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_client_with_a_certificate_is_answered(gateway):
    assert ask(gateway, "/v2/health/ready") == (200, b"0")


def test_others_are_not(gateway):
    assert ask(gateway, "/v2/health/ready", who=None)[0] == 400
    assert ask(gateway, "/v2/health/ready", who="stranger")[0] == 400


@pytest.mark.parametrize(
    "path",
    [
        *("/metrics", "/v2", "/v2/repository/index", "/v2/systemsharedmemory/status"),
        *("/v2/models/generator/infer", "/v2/models/anonymize/infer", "/v2/logging"),
        *("/v2/health/ready/../../repository/index", "//v2/logging"),
    ],
)
def test_what_no_client_needs_does_not_exist(gateway, path):
    assert ask(gateway, path, method="POST", body=b"")[0] == 404


def test_a_large_case_passes_and_is_not_written_to_a_disk(gateway):
    folder, _ = gateway
    path, body = "/v2/models/anonymize/generate_stream", bytes(30_000_000)
    assert ask(gateway, path, method="POST", body=body) == (200, b"30000000")
    # nginx warns of each body that it keeps in a file.
    assert (folder / "error.log").read_text(encoding="utf-8") == ""


def test_too_large_a_case_is_refused_by_its_length(gateway):
    with begun(gateway, 300_000_000) as connection:
        assert b" 413 " in connection.recv(100)


@contextmanager
def begun(gateway, size):
    """A connection with a request whose body of so many bytes is still to come."""
    folder, port = gateway
    context = ssl.create_default_context(cafile=str(folder / "tls.crt"))
    context.load_cert_chain(folder / "radiology.crt", folder / "radiology.key")
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(
            b"POST /v2/models/anonymize/generate_stream HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: %d\r\n\r\n" % size
        )
        yield connection


def test_one_client_does_not_take_all_places(gateway):
    text = (ROOT / "deploy/gateway/nginx.conf").read_text(encoding="utf-8")
    most = int(re.search(r"limit_conn clients (\d+);", text)[1])
    with ExitStack() as held:
        for _ in range(most):
            held.enter_context(begun(gateway, 1000))
        until(lambda: ask(gateway, "/v2/health/ready")[0] == 429)
        assert ask(gateway, "/v2/health/ready", who="other")[0] == 200
    until(lambda: ask(gateway, "/v2/health/ready")[0] == 200)


def test_a_certificate_that_was_taken_back_is_refused(gateway):
    folder, _ = gateway
    run(documented("cd deploy/secrets", 2), folder, "gone")
    os.kill(int((folder / "nginx.pid").read_text()), signal.SIGHUP)
    until(lambda: ask(gateway, "/v2/health/ready", who="gone")[0] == 400)
    assert ask(gateway, "/v2/health/ready")[0] == 200


def stream(gateway, method, messages):
    import grpc

    folder, port = gateway
    root, key, chain = (
        (folder / name).read_bytes() for name in ("tls.crt", "radiology.key", "radiology.crt")
    )
    credentials = grpc.ssl_channel_credentials(root, key, chain)
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        call = channel.stream_stream(f"{SERVICE}/{method}")
        return list(call(iter(messages), timeout=20))


def test_a_stream_of_grpc_passes(gateway):
    messages = [b"photographs" * 100_000, b"more"]
    assert stream(gateway, "ModelStreamInfer", messages) == messages


@pytest.mark.parametrize(
    "method",
    ["SystemSharedMemoryRegister", "RepositoryModelLoad", "TraceSetting", "ModelInfer"],
)
def test_other_methods_of_grpc_do_not_exist(gateway, method):
    import grpc

    with pytest.raises(grpc.RpcError) as caught:
        stream(gateway, method, [b"x"])
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_the_log_says_who_and_not_what(gateway):
    folder, _ = gateway
    assert ask(gateway, "/v2/patients/jane-doe")[0] == 404
    written = re.compile(r" [0-9a-f]{40} GET 404 ")
    log = folder / "access.log"
    until(lambda: written.search(log.read_text(encoding="utf-8")))  # a moment after the answer
    assert "jane" not in log.read_text(encoding="utf-8")
