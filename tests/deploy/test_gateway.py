"""nginx.conf, parsed: what passes, who may ask, what is kept."""

import re
import shlex

import crossplane
import pytest

from vera.launch.options import ServeOptions
from vera.wire.tensors import MODEL

SERVICE = "/inference.GRPCInferenceService"
GRPC = {
    f"{SERVICE}/{name}" for name in ("ModelStreamInfer", "ServerLive", "ServerReady", "ModelReady")
}
HTTP = {
    *("/v2/health/live", "/v2/health/ready"),
    *(f"/v2/models/{MODEL}/ready", f"/v2/models/{MODEL}/generate_stream"),
}


def replaced(text, *pairs):
    for old, new in pairs:
        assert text.count(old) >= 1, old
        text = text.replace(old, new)
    return text


@pytest.fixture
def text(deploy):
    return (deploy / "gateway/nginx.conf").read_text(encoding="utf-8")


@pytest.fixture
def server(text, tmp_path):
    """The directives of the one server; crossplane is older than `http2 on`."""
    older = replaced(text, ("listen 8443 ssl;", "listen 8443 ssl http2;"), ("http2 on;", ""))
    file = tmp_path / "nginx.conf"
    file.write_text(older, encoding="utf-8")
    parsed = crossplane.parse(str(file), strict=True)
    assert parsed["status"] == "ok", parsed["errors"]
    top = {d["directive"]: d for d in parsed["config"][0]["parsed"]}
    servers = [d for d in top["http"]["block"] if d["directive"] == "server"]
    assert len(servers) == 1
    return servers[0]["block"]


def one(block, directive):
    (found,) = [d["args"] for d in block if d["directive"] == directive]
    return found


def locations(server):
    return {tuple(d["args"]): d["block"] for d in server if d["directive"] == "location"}


def test_only_a_clients_requests_pass(server):
    open_ones = {args[1] for args in locations(server) if args[0] == "="}
    assert open_ones == GRPC | HTTP
    (rest,) = [block for args, block in locations(server).items() if args[0] != "="]
    assert [(d["directive"], d["args"]) for d in rest] == [("return", ["404"])]


def test_requests_go_to_the_ports_of_the_server(server):
    ports = ServeOptions()
    for args, block in locations(server).items():
        if args[0] == "=" and args[1] in GRPC:
            assert one(block, "grpc_pass") == [f"grpc://$vera:{ports.grpc_port}"]
        elif args[0] == "=":
            assert one(block, "proxy_pass") == [f"http://$vera:{ports.http_port}"]


def test_clients_show_a_certificate(server, compose):
    assert one(server, "ssl_verify_client") == ["on"]
    assert one(server, "ssl_protocols") == ["TLSv1.2", "TLSv1.3"]
    names = [one(server, f"ssl_{name}")[0] for name in ("certificate", "certificate_key")]
    names += one(server, "ssl_client_certificate") + one(server, "ssl_crl")
    mounted = {f"/run/secrets/{name}" for name in compose["services"]["gateway"]["secrets"]}
    assert set(names) == mounted


def test_photographs_are_not_kept_on_a_disk(server):
    assert one(server, "proxy_request_buffering") == ["off"]
    assert one(server, "proxy_buffering") == ["off"]
    assert one(server, "proxy_max_temp_file_size") == ["0"]


def test_the_log_has_no_line_of_a_request(text):
    # nginx adds the request's line to what it writes of lower levels.
    assert re.findall(r"error_log (.*);", text) == ["/dev/stderr crit"]
    (form,) = re.findall(r"log_format \w+ '([^']*)'", text)
    assert not {"$request", "$request_uri", "$uri", "$args", "$remote_addr"} & set(form.split())


def rendered_with(compose, command_line):
    flags = re.sub(r"\$\{\w+:-(\w+)\}", r"\1", compose["x-limits"])
    return command_line.parse_args(
        ["repository", "--out=m", "--backend=python", *shlex.split(flags)]
    )


def test_one_client_has_a_third_of_the_places_at_most(server, compose, command_line):
    given = rendered_with(compose, command_line)
    zone, most = one(server, "limit_conn")
    assert zone == "clients"
    assert 1 <= int(most) <= (given.slots + given.queue) / 3


def test_the_largest_case_passes_and_the_longest_is_waited_for(server, compose, command_line):
    given = rendered_with(compose, command_line)
    body = int(one(server, "client_max_body_size")[0].removesuffix("m")) * 2**20
    as_base64 = given.max_case_bytes * 4 / 3
    assert as_base64 < body <= ServeOptions().http_bytes
    for directive in ("grpc_read_timeout", "proxy_read_timeout"):
        assert int(one(server, directive)[0].removesuffix("s")) > given.max_seconds
