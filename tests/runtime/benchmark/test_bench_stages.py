"""The stages of a case, its memory, its fresh processes and its surroundings."""

import io
import json
import os
import subprocess
from itertools import count

import numpy as np
import pytest
from PIL import Image

from vera.benchmark import cold
from vera.benchmark.cold import cold_start
from vera.benchmark.environment import cpu_model, differences, environment, gpu_models
from vera.benchmark.memory import memory
from vera.benchmark.photos import photographs
from vera.benchmark.stages import STAGES, Trace, measure_stages, table_of
from vera.benchmark.target import Query
from vera.client.connection import Connection
from vera.errors import EngineError, UsageError


def traced(*calls: str) -> Trace:
    """Every call lasts 1 s and comes 1 s after the one before."""
    trace = Trace(count().__next__)
    trace.begin()
    for name in calls:
        trace.called(name)
        trace.returned(name)
    trace.end()
    return trace


def test_what_lies_between_two_engines_belongs_to_a_stage():
    trace = traced(
        *("detector", "attributes", "parser", "embedder", "perceptual", "encoder"),
        *("forward", "backward", "forward"),
        *("generator", "embedder", "generator", "embedder"),
        *("refiner", "detector", "embedder", "embedder"),
    )
    assert trace.stages == {
        "detect": 2,
        "align": 4,  # warps before and inside of attributes and embedder
        "parse": 2,
        "prepare": 1,
        "start": 4,
        "inversion": 5,
        "draw": 2,
        "synthesis": 4,
        "gate": 8,
        "blend": 3,
    }


def test_a_bundle_without_encoder_and_refiner_has_the_same_stages():
    trace = traced("detector", "perceptual", "forward", "generator", "embedder", "detector")
    assert trace.stages["start"] == 2
    assert trace.stages["blend"] == 1


def test_stages_add_up_to_the_case():
    trace = traced("detector", "generator", "embedder", "embedder", "attributes", "detector")
    assert sum(trace.stages.values()) == 2 * 6 + 1
    assert trace.engines == {"detector": 2, "generator": 1, "embedder": 2, "attributes": 1}
    assert trace.calls["embedder"] == 2


def test_a_table_of_stages_has_means_and_the_time_of_a_step():
    one = traced("perceptual", "forward", "backward", "forward")
    other = traced("perceptual", "forward", "backward", "forward", "backward", "forward")
    found = table_of([one, other])
    assert found.steps == 1.5
    assert found.stages["inversion"].value == (one.stages["inversion"] + 9) / 2
    assert found.calls["backward"] == 1.5
    assert found.step.value == pytest.approx((5 / 1 + 9 / 2) / 2)
    assert list(found.stages) == [name for name in STAGES if name in found.stages]


@pytest.mark.slow
def test_stages_of_a_real_case_are_all_there(photo, fake_engines, fake_bundle):
    query = Query((photo,), "mouth", 3, {"steps": 2})
    found = measure_stages([query], fake_engines, fake_bundle, warmup=0, clock=count().__next__)
    assert set(found.stages) == set(STAGES)
    assert found.calls["forward"] == 3  # two steps, and the loss at their end
    assert found.steps == 2
    assert sum(stage.value for stage in found.stages.values()) == found.total.value


def test_memory_of_this_process_is_its_peak():
    assert 10**7 < memory().process_peak < 10**12
    assert memory().server is None


def test_memory_of_a_server_counts_its_children(tmp_path):
    def process(pid, pss, peak, children=""):
        folder = tmp_path / str(pid)
        (folder / "task" / str(pid)).mkdir(parents=True)
        (folder / "task" / str(pid) / "children").write_text(children)
        (folder / "smaps_rollup").write_text(f"0-1 ---p\nRss: 9 kB\nPss:   {pss} kB\n")
        (folder / "status").write_text(f"Name:\tx\nVmHWM:\t {peak} kB\nVmRSS:\t 7 kB\n")

    process(5, 10, 100, "6 7 99 ")  # 99 ended meanwhile
    process(6, 20, 200)
    process(7, 30, 300, "8")
    process(8, 40, 400)
    (tmp_path / "8" / "smaps_rollup").unlink()  # some kernels have none: the resident size then
    found = memory(5, tmp_path)
    assert (found.server, found.server_peak, found.server_processes) == (67 * 1024, 1024000, 4)


def test_memory_of_a_server_that_is_not_there_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="memory of process 5 cannot be read"):
        memory(5, tmp_path)


def test_a_kernel_that_hides_children_is_told_and_no_part_of_the_memory(tmp_path):
    (tmp_path / "5/task/5").mkdir(parents=True)
    (tmp_path / "5/status").write_text("VmHWM:\t 9 kB\n")
    with pytest.raises(UsageError, match="memory of process 5 cannot be read"):
        memory(5, tmp_path)


def test_memory_of_a_process_of_this_machine_can_be_read():
    assert memory(os.getpid()).server > 10**6


@pytest.fixture
def fresh(monkeypatch, request):
    """Lets fresh processes find the stand-ins."""
    fakes = request.config.rootpath / "tests/fakes"
    runtime = request.config.rootpath / "runtime"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(fakes), str(runtime)]))


def test_a_cold_start_is_measured_in_fresh_processes(fresh, tmp_path):
    query = Query((tmp_path / "a.png",), "mouth", 1, {"steps": 2})
    found = cold_start("local", query, {"bundle": tmp_path}, 2, module="bench_target")
    assert (found.target, found.runs, found.peak_bytes) == ("local", 2, 1000)
    assert (found.opening.value, found.first.value) == (0.25, 0.5)
    assert found.total.value == pytest.approx(found.starting.value + 0.75)


def test_a_fresh_process_that_fails_is_told(fresh, tmp_path):
    with pytest.raises(EngineError, match=r"no result \(EngineError: no luck\)"):
        cold_start("x", Query((), "none", 13), {}, 1, module="bench_target")


def test_the_process_of_a_cold_start_tells_its_times(monkeypatch, capsys):
    from bench_target import BenchAnonymizer

    request = {"opening": {"threads": 1}, "photos": ["a"], "case": {"keep": "none", "seed": 2}}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(request)))
    monkeypatch.setattr("vera.Anonymizer", BenchAnonymizer, raising=False)
    assert cold.main() == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"opening_s", "first_s", "peak_bytes"}
    assert BenchAnonymizer.opened[-1].asked[0]["seed"] == 2


def test_access_to_a_server_reaches_the_process_of_a_cold_start(monkeypatch, capsys, tmp_path):
    from bench_target import BenchAnonymizer

    given = Connection("grpcs://a:1", headers=(("X-Site", "a"),), ca_file=tmp_path, retries=0)
    sent = []

    def started(command, *, input, **options):
        sent.append(input)
        monkeypatch.setattr("sys.stdin", io.StringIO(input))
        assert cold.main() == 0
        return subprocess.CompletedProcess(command, 0, capsys.readouterr().out, "")

    monkeypatch.setattr("vera.Anonymizer", BenchAnonymizer, raising=False)
    monkeypatch.setattr("subprocess.run", started)
    query = Query((tmp_path / "a.png",), "mouth", 1, {"steps": 2})
    cold_start("server", query, {"connection": given}, 1)
    assert BenchAnonymizer.opened[-1].options == {"connection": given}
    assert len(sent) == 1


def test_the_environment_tells_sizes_and_no_names(photo, fake_bundle):
    found = environment([photo, photo], fake_bundle)
    with Image.open(photo) as picture:
        side = picture.width
    assert found["photos"]["sizes"] == {f"{side}x{side}": 2}
    assert found["photos"]["formats"] == {"png": 2}
    assert found["bundle"]["digest"] == fake_bundle.digest
    assert photo.stem not in json.dumps(found)
    assert environment([photo], None)["bundle"] is None


def test_the_processor_is_read_from_the_kernel_s_text():
    assert cpu_model("processor : 0\nmodel name\t: Fast 9000\nmodel name\t: Fast 9000\n") == (
        "Fast 9000"
    )
    assert cpu_model("") != ""


def test_gpus_are_told_as_their_driver_tells_them(tmp_path):
    assert gpu_models(tmp_path) == []
    for place in ("b", "a"):
        (tmp_path / place).mkdir()
        text = f"Model: \t\t NVIDIA {place.upper()}\nIRQ:   \t\t 87\n"
        (tmp_path / place / "information").write_text(text)
    assert gpu_models(tmp_path) == ["NVIDIA A", "NVIDIA B"]


def test_differences_of_machines_are_named(photo):
    one = environment([photo], None)
    other = {**one, "cores": 96, "load": 7.0, "versions": {"numpy": "0"}}
    assert [text.split(" differs")[0] for text in differences(one, other)] == ["cores", "versions"]
    assert differences(one, one) == []


def test_photographs_come_from_files_and_folders(tmp_path):
    for name in ("b.png", "a.jpg"):
        Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "note.txt").write_text("no photograph")
    assert photographs([tmp_path]) == [tmp_path / "a.jpg", tmp_path / "b.png"]
    assert photographs([tmp_path / "b.png"]) == [tmp_path / "b.png"]


def test_missing_photographs_are_counted_not_named(tmp_path):
    with pytest.raises(UsageError, match="Got 1 photographs in --photos, of which 1") as caught:
        photographs([tmp_path / "jane.png"])
    assert "jane" not in str(caught.value)
    with pytest.raises(UsageError, match="Got 0"):
        photographs([tmp_path])
