"""``vera bench`` as it is called, on anonymizers that sleep a millisecond."""

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import get_args

import jsonschema
import pytest
from bench_target import BenchAnonymizer

from vera.benchmark import agreement, cold, memory, quantiles, record, stages
from vera.benchmark.record import Record, read_record, schema
from vera.benchmark.target import Anonymizers
from vera.cli import main
from vera.commands import bench
from vera.errors import UsageError

SCHEMA = schema()
DATACLASSES = {
    Record: SCHEMA,
    record.Run: SCHEMA["$defs"]["run"],
    record.Accuracy: SCHEMA["$defs"]["accuracy"],
    record.MemoryMark: SCHEMA["$defs"]["mark"],
    quantiles.Interval: SCHEMA["$defs"]["interval"],
    agreement.Agreement: SCHEMA["$defs"]["agreement"],
    stages.StageTable: SCHEMA["$defs"]["stages"],
    cold.ColdStart: SCHEMA["$defs"]["cold_start"],
    memory.Memory: SCHEMA["$defs"]["memory"],
}


@pytest.fixture
def run(photo, bundle_folder, tmp_path):
    """Runs the command on a fake; returns its exit code and the record, if there is one."""
    target = tmp_path / "bench.json"

    def run(*arguments, opened=BenchAnonymizer):
        given = ["bench", "--photos", photo, "--bundle", bundle_folder, "--json", target]
        given += ["--queries", "4", "--warmup", "1", *arguments]
        code = main([str(one) for one in given], open_anonymizer=opened)
        return code, json.loads(target.read_text()) if target.exists() else None

    return run


def test_a_record_is_valid_and_tables_are_printed(run, capsys):
    code, found = run("--scenario", "single-stream", "sweep", "--clients", 1, 2)
    assert code == 0
    jsonschema.validate(found, SCHEMA)
    assert found["complete"] is True
    assert [(r["scenario"], r["clients"]) for r in found["runs"]] == [
        ("single-stream", 1),
        ("sweep", 1),
        ("sweep", 2),
    ]
    printed = capsys.readouterr().out
    assert "n < 1000" in printed  # why there is no p99
    assert "Memory" in printed


def test_nothing_personal_is_in_a_record(run, photo):
    _, found = run("--local", "--baseline", "one-at-a-time")
    text = json.dumps(found)
    assert photo.stem not in text
    assert str(photo.parent) not in text


def test_the_first_target_is_the_baseline_and_pictures_are_compared(run, capsys):
    _, found = run("--baseline", "one-at-a-time", "--scenario", "single-stream")
    assert list(found["targets"]) == ["one-at-a-time", "local"]
    (agreed,) = found["agreement"]
    assert (agreed["target"], agreed["pictures"], agreed["equal"]) == ("local", 1, 1)
    assert "Ratios" in capsys.readouterr().out


def test_a_server_is_asked_without_retries(run):
    _, found = run("--local", "--url", "grpc://localhost:8001", "--workers", 3)
    assert list(found["targets"]) == ["local", "server"]
    local, remote = [one for one in BenchAnonymizer.opened if one.asked][-2:]
    assert local.options["workers"] == 3
    assert remote.options["url"] == "grpc://localhost:8001"
    assert remote.options["connection"].retries == 0
    assert remote.closed
    assert "localhost" not in json.dumps(found)


def test_header_and_certificates_reach_every_server(run, tmp_path):
    (tmp_path / "token").write_text("secret\n")
    before = len(BenchAnonymizer.opened)
    given = ["--header", "X-Site: a", "--header", f"Authorization:@{tmp_path}/token"]
    given += ["--tls-ca", "ca.pem", "--tls-cert", "me.pem", "--tls-key", "me.key"]
    code, found = run("--url", "grpcs://a:1", "--url", "https://b:2", *given)
    assert code == 0
    for one in BenchAnonymizer.opened[before:]:
        reached = one.options["connection"]
        assert reached.headers == (("X-Site", "a"), ("Authorization", "secret"))
        assert [reached.ca_file, reached.cert_file, reached.key_file] == [
            Path(name) for name in ("ca.pem", "me.pem", "me.key")
        ]
    assert "secret" not in json.dumps(found)


def test_access_without_a_server_is_a_usage_error(run, capsys):
    assert run("--header", "X-Site: a") == (2, None)
    assert "--header does nothing without --url" in capsys.readouterr().err


def test_the_device_reaches_the_anonymizer_and_its_last_bits_may_differ(run):
    made = iter([0, 1])

    def opened(*arguments, **options):
        return BenchAnonymizer(*arguments, shade=next(made), **options)

    _, found = run("--local", "--baseline", "one-at-a-time", "--device", "cuda", opened=opened)
    assert [one.options["device"] for one in BenchAnonymizer.opened[-2:]] == ["cuda", "cuda"]
    assert found["targets"]["local"]["device"] == found["request"]["device"] == "cuda"
    assert found["agreement"][0]["allowed"] == 0.05


@pytest.mark.parametrize(("error", "code"), [(ZeroDivisionError, 1), (KeyboardInterrupt, 130)])
def test_what_was_finished_before_an_error_is_written(run, capsys, error, code):
    class Broken(BenchAnonymizer):
        def submit(self, photos, **request):
            if len(self.asked) == 8:  # one of the warm-up, four of the first load, two to warm up
                raise error
            return super().submit(photos, **request)

    given = ("--scenario", "single-stream", "sweep", "--clients", 2, "--workers", 2)
    ended, found = run(*given, opened=Broken)
    assert ended == code
    jsonschema.validate(found, SCHEMA)
    assert [one["scenario"] for one in found["runs"]] == ["single-stream"]
    assert found["complete"] is False
    told = capsys.readouterr()
    assert "Loads" in told.out
    assert "note: ended early; this is what was finished" in told.err


def test_other_libraries_of_a_target_are_told(run, capsys):
    def opened(*arguments, url=None, **options):
        told = {"opencv": "4" if url else "5"}
        return BenchAnonymizer(*arguments, told=told, **options)

    _, found = run("--local", "--url", "grpc://localhost:8001", opened=opened)
    assert found["targets"]["server"]["versions"] == {"opencv": "4"}
    said = capsys.readouterr().err
    assert "note: server has opencv 4, not 5: pictures need not equal those of local" in said


def test_one_at_a_time_is_around_the_server_where_only_servers_are_measured(run):
    before = len(BenchAnonymizer.opened)
    urls = ("--url", "grpc://a:1", "--url", "http://b:2", "--plaintext")
    _, found = run(*urls, "--baseline", "one-at-a-time")
    assert list(found["targets"]) == ["one-at-a-time", "server 1", "server 2"]
    urls = [one.options["url"] for one in BenchAnonymizer.opened[before:]]
    assert urls == ["grpc://a:1", "grpc://a:1", "http://b:2"]


def test_without_a_url_this_process_is_measured(run):
    _, found = run("--scenario", "offline")
    assert list(found["targets"]) == ["local"]


def test_steps_and_seed_reach_the_cases(run):
    run("--steps", 2, "--seed", 40, "--keep", "nose", "--scenario", "single-stream")
    asked = BenchAnonymizer.opened[-1].asked
    assert {(one["steps"], one["keep"]) for one in asked} == {(2, "nose")}
    assert sorted({one["seed"] for one in asked}) == [40, 41, 42, 43]


def test_threads_queue_and_deadline_reach_the_anonymizer(run):
    run("--local", "--threads", 3, "--queue", 5, "--deadline", 7.5)
    opened = BenchAnonymizer.opened[-1]
    assert (opened.options["threads"], opened.options["queue"]) == (3, 5)
    assert {one["deadline"] for one in opened.asked} == {7.5}


@pytest.mark.parametrize(("rounds", "order"), [(1, "1122"), (2, "1221")])
def test_targets_alternate_in_so_many_rounds(run, rounds, order):
    asked = []

    class Noted(BenchAnonymizer):
        def submit(self, photos, **request):
            asked.append(str(self.options["workers"]))
            return super().submit(photos, **request)

    given = ("--baseline", "one-at-a-time", "--workers", 2, "--rounds", rounds)
    run(*given, "--queries", 8, opened=Noted)
    assert "".join(asked[-16::4]) == order


def test_a_load_ends_after_so_many_seconds(run):
    given = ("--scenario", "server", "--rate", 8, "--bound", 30)
    _, whole = run(*given)
    _, short = run(*given, "--seconds", 0.25)
    assert (whole["runs"][0]["queries"], short["runs"][0]["queries"]) == (4, 2)


def test_memory_of_a_server_is_told_if_its_process_is_named(run):
    _, without = run()
    _, found = run("--server-pid", os.getpid())
    assert without["memory"][-1]["memory"]["server"] is None
    assert found["memory"][-1]["memory"]["server"] > 10**6


def test_a_cold_start_takes_so_many_processes(run, monkeypatch):
    def cold_start(target, query, opening, runs):
        one = quantiles.Interval(1.0)
        return cold.ColdStart(target, runs, one, one, one, one, peak_bytes=1000)

    monkeypatch.setattr("vera.benchmark.command.cold_start", cold_start)
    _, found = run("--scenario", "cold", "--processes", 2)
    assert [(one["target"], one["runs"]) for one in found["cold_starts"]] == [("local", 2)]


def test_a_server_scenario_tells_the_rate_that_was_held(run, capsys):
    _, found = run("--scenario", "server", "--rate", 200, "--bound", 30)
    assert found["runs"][0]["held"] is True
    printed = capsys.readouterr().out
    assert "largest rate held by local: 200 a second" in printed
    assert "held: 100.0 % in 30 s (late < 52.7 %)" in printed  # none of four: 1 - 0.05 ** (1 / 4)


def test_plots_are_written_beside_the_record(run, out):
    run("--scenario", "sweep", "--clients", 1, 2, "--out", out)
    assert sorted(path.name for path in out.iterdir()) == ["bench.json", "latency.png", "sweep.png"]
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in out.glob("*.png"))


def test_targets_that_disagree_are_an_error(run, capsys):
    made = iter([0, 90])

    def opened(*arguments, **options):
        return BenchAnonymizer(*arguments, shade=next(made), **options)

    code, found = run("--baseline", "one-at-a-time", opened=opened)
    assert (code, found) == (1, None)
    assert "do not do the same work" in capsys.readouterr().err


def test_the_eager_baseline_is_left_out_with_a_sentence(run, capsys):
    code, found = run("--baseline", "eager")
    assert code == 0
    assert list(found["targets"]) == ["local"]
    assert "The baseline eager is left out: it needs PyTorch" in capsys.readouterr().err


def test_a_baseline_of_the_caller_s_is_measured(photo, bundle_folder, tmp_path):
    import argparse

    parser = argparse.ArgumentParser()
    bench.add(parser.add_subparsers())
    given = ["bench", "--photos", photo, "--bundle", bundle_folder, "--baseline", "eager"]
    given += ["--json", tmp_path / "b.json", "--queries", 2, "--warmup", 0]
    args = parser.parse_args([str(one) for one in given])
    made = {"eager": lambda folder, threads: Anonymizers("eager", BenchAnonymizer())}
    assert bench.run(args, BenchAnonymizer, baselines=made) == 0
    assert list(read_record(tmp_path / "b.json")["targets"]) == ["eager", "local"]


def test_two_records_are_compared(run, tmp_path, capsys):
    _, one = run("--queries", 20)
    other = {**one, "environment": {**one["environment"], "cores": 99}}
    for name, content in (("a", one), ("b", other)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    capsys.readouterr()
    pair = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    assert main(["bench", "--compare", *pair]) == 0
    printed = capsys.readouterr().out
    assert "note: cores differs" in printed
    assert "1 [" in printed  # the ratio of a thing and itself


def test_records_without_a_common_load_are_a_usage_error(run, tmp_path, capsys):
    _, one = run()
    (tmp_path / "a.json").write_text(json.dumps(one))
    (tmp_path / "b.json").write_text(json.dumps({**one, "runs": []}))
    assert main(["bench", "--compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 2
    assert "no load in common" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{}", '{"format": 2}'])
def test_what_is_no_record_is_a_usage_error(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UsageError, match="is no record of vera bench"):
        read_record(tmp_path / "x.json")


def test_a_missing_record_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_record(tmp_path / "none.json")


@pytest.mark.parametrize("module", ["scipy", "matplotlib", "jsonschema"])
def test_without_the_extra_a_sentence_says_what_to_install(module, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["bench"]) == 2
    assert f'vera bench needs {module}, which is not installed; run: pip install "vera[bench]"' in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("arguments", [("--rate", "0"), ("--bound", "x"), ("--clients", "0")])
def test_numbers_that_make_no_sense_are_a_usage_error(arguments):
    assert main(["bench", *arguments]) == 2


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    docs = Path(__file__).parents[3] / "docs/bench.schema.json"
    assert json.loads(docs.read_text("utf-8")) == SCHEMA


@pytest.mark.parametrize("kind", DATACLASSES, ids=lambda kind: kind.__name__)
def test_schema_has_the_fields_of_the_dataclass_and_no_more(kind):
    part = DATACLASSES[kind]
    names = [field.name for field in dataclasses.fields(kind)]
    assert sorted(part["properties"]) == sorted(names)
    assert part["required"] == list(part["properties"])
    assert part["additionalProperties"] is False


def test_scenarios_of_the_schema_are_those_of_the_code():
    enum = SCHEMA["$defs"]["run"]["properties"]["scenario"]["enum"]
    assert enum == list(get_args(record.ScenarioName))
    assert SCHEMA["properties"]["format"]["const"] == record.FORMAT


def test_every_field_of_the_schema_is_described():
    fields = [field for part in DATACLASSES.values() for field in part["properties"].values()]
    assert [field for field in fields if len(field.get("description", "")) < 8] == []
