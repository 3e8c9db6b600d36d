"""A folder job whose server is killed, comes back, and is restarted in order."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from client_program import Ended, Program, vera_command
from PIL import Image
from real_triton import RealTriton

from vera.batch.journal import JOURNAL_NAME
from vera.batch.output import LOG_NAME

CASES, STEPS = 5, 3


@dataclass
class Scene:
    """What came of three jobs over the same folder.

    Attributes:
        out: The folder of their output folders: ``calm`` is of a job that nothing happened to,
            ``patient`` of one with retries, ``hasty`` of one without, which was run again.
        ended: What the commands ended in, in the order in which they were begun.
        early: Of each job the images that were there at the kill, with inode and time of writing.
        left: Reports of the hasty job when it ended, with the reason of each refusal.
        images: How many images it had written by then.
        logs: Of the servers.
    """

    out: Path
    ended: dict[str, list[Ended]] = field(default_factory=dict)
    early: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    left: dict[str, str | None] = field(default_factory=dict)
    images: int = 0
    logs: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def scene(rendered, started, portrait, tmp_path_factory) -> Scene:
    """One server that is killed and comes back for all tests: each start takes seconds."""
    scene = Scene(tmp_path_factory.mktemp("scene"))
    repository = rendered(slots=2, queue=2, threads=2)
    first = started(repository)
    write_cases(scene.out / "cases", portrait)
    begin = Begin(scene.out, first)
    scene.ended["calm"] = [Ended.of(begin("calm"))]
    patient, hasty = begin("patient", "--retries", 20), begin("hasty", "--retries", 0)
    until(lambda: all(finished(scene.out / name) for name in ("patient", "hasty")))
    scene.early = {name: stamps(scene.out / name) for name in ("patient", "hasty")}
    first.kill()
    scene.ended["hasty"] = [Ended.of(hasty)]
    scene.left = verdicts(scene.out / "hasty")
    scene.images = len(stamps(scene.out / "hasty"))

    second = started(repository, ports=first.ports)
    done = finished(scene.out / "patient")
    until(lambda: finished(scene.out / "patient") > done)
    second.terminate()
    second.process.wait(60)
    third = started(repository, ports=first.ports)
    hasty = begin("hasty")
    scene.ended["patient"] = [Ended.of(patient)]
    scene.ended["hasty"].append(Ended.of(hasty))
    third.kill()
    scene.logs = [server.lines() for server in (first, second, third)]
    return scene


class Begin:
    """Begins jobs over the cases."""

    def __init__(self, folder: Path, server: RealTriton) -> None:
        self._folder, self._url = folder, f"grpc://{server.grpc}"

    def __call__(self, name: str, *manners: object) -> Program:
        return vera_command(
            *("anonymize", self._folder / "cases", "--out", self._folder / name),
            *("--seed", 3, "--steps", STEPS, "--url", self._url, *manners),
        )


def write_cases(folder: Path, portrait: np.ndarray) -> None:
    """Photographs that differ: the journal knows a case by its bytes."""
    for number in range(1, CASES + 1):
        (folder / f"patient{number}").mkdir(parents=True)
        changed = portrait.copy()
        changed[:4, :4] = 40 * number
        Image.fromarray(changed).save(folder / f"patient{number}" / "before.png")


def finished(out: Path) -> int:
    """Cases that the journal says are finished."""
    try:
        lines = (out / JOURNAL_NAME).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return 0
    whole = [line for line in lines if line.endswith("}")]
    return sum(bool(json.loads(line).get("photos")) for line in whole)


def verdicts(out: Path) -> dict[str, str | None]:
    """Of each report the reason of its refusal, None if there is none."""
    reports = sorted(out.glob("*/*.json"))
    return {str(p.relative_to(out)): json.loads(p.read_text("utf-8"))["reason"] for p in reports}


def stamps(out: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of writing of each image."""
    found = {str(path.relative_to(out)): path.stat() for path in sorted(out.glob("*/*.png"))}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def outputs(out: Path) -> dict[str, object]:
    """Every image and report; without times, which differ from run to run."""
    found: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        if path.suffix == ".png":
            found[str(path.relative_to(out))] = path.read_bytes()
        elif path.suffix == ".json" and path.name != LOG_NAME:
            report = json.loads(path.read_text("utf-8"))
            found[str(path.relative_to(out))] = {**report, "milliseconds": None}
    return found


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_job_that_waits_for_its_server_is_done_as_if_nothing_had_happened(scene):
    assert [ended.code for ended in scene.ended["patient"]] == [0]
    assert outputs(scene.out / "patient") == outputs(scene.out / "calm")
    assert len(outputs(scene.out / "calm")) == 2 * CASES


def test_what_was_finished_before_the_kill_is_not_touched_again(scene):
    for name, early in scene.early.items():
        assert 1 <= len(early) < CASES
        assert stamps(scene.out / name).items() >= early.items()


@pytest.mark.parametrize("name", ["calm", "patient", "hasty"])
def test_the_journal_has_each_case_once(scene, name):
    assert finished(scene.out / name) == CASES


def test_no_case_was_done_again_whose_result_had_arrived(scene):
    done = [log.count('"verdict": "anonymized"') for log in scene.logs]
    # What ended in the very moment of the kill was lost with it.
    lost = done[0] - CASES - sum(map(len, scene.early.values()))
    assert lost <= len(scene.early)
    assert sum(done) <= 3 * CASES + lost


def test_a_job_that_does_not_wait_ends_in_one_sentence_and_leaves_nothing_half_done(scene):
    first = scene.ended["hasty"][0]
    assert first.code == 1
    assert first.error.splitlines()[-1].startswith("vera: The server at grpc://127.0.0.1:")
    assert "patient" not in first.error
    assert len(scene.early["hasty"]) <= len(scene.left) < CASES
    assert set(scene.left.values()) == {None}
    assert scene.images == len(scene.left)


def test_the_next_run_does_the_rest(scene):
    assert scene.ended["hasty"][1].code == 0
    assert outputs(scene.out / "hasty") == outputs(scene.out / "calm")


def test_a_server_that_is_restarted_in_order_lost_nothing(scene):
    assert '"event": "closed"' in scene.logs[1]
    assert '"verdict": "cancelled"' not in scene.logs[1]
