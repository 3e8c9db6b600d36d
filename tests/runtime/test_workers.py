"""Several processes: the results of one, whatever happens to them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import anonymize, broken, fake, full_disk, images
from fake_anonymizer import THRESHOLD
from job_folder import outputs, run, run_with, write_photo

from vera.batch.journal import JOURNAL_NAME
from vera.batch.output import LOG_NAME
from vera.batch.workers import Workers
from vera.commands.opening import Opening, threads_of_each
from vera.errors import EngineError, OutputError

pytestmark = pytest.mark.slow  # a process takes about a second to start

_FAKES = Path(__file__).parents[1] / "fakes"
OPENING = Opening(None, 1, opened=fake)


def write_many(folder, *names):
    for number, name in enumerate(names):
        write_photo(folder / name / "front.png", number)
    return folder


def work(folder, out, count=2, opening=OPENING, **options):
    with Workers(count, opening) as crew:
        return run_with(crew, folder, out, **options)


def verdicts(out):
    """The finished cases in the journal, in its order."""
    lines = [json.loads(line) for line in (out / JOURNAL_NAME).read_text().splitlines()[1:]]
    return [(line["stems"], line["photos"]) for line in lines if line["photos"] is not None]


def test_two_workers_write_what_one_process_writes(folder, tmp_path):
    write_many(folder, "a")
    options = {"distinct": THRESHOLD, "seed": 3}
    summary = work(folder, tmp_path / "two", **options)
    alone, _ = run(folder, tmp_path / "one", **options)
    assert outputs(tmp_path / "two") == outputs(tmp_path / "one")
    assert verdicts(tmp_path / "two") == verdicts(tmp_path / "one")
    assert (summary.anonymized, summary.refused) == (alone.anonymized, alone.refused)
    assert work(folder, tmp_path / "one", **options).resumed == 6


def test_case_that_kills_its_worker_fails_alone(tmp_path):
    out = tmp_path / "out"
    folder = write_many(tmp_path / "cases", "a", "b", "deadly", "x", "y")
    arguments = ("--out", out, "--seed", 7, "--workers", 2)
    assert anonymize(folder, *arguments) == 3
    log = json.loads((out / LOG_NAME).read_text())
    assert (log["workers"], log["anonymized"], log["refused"]) == (2, 4, {"failed": 1})
    report = json.loads((out / "case_0003/anon_1.json").read_text())
    assert "was ended by the system" in report["message"]
    (folder / "deadly").rename(folder / "quiet")
    assert anonymize(folder, *arguments) == 0
    assert json.loads((out / LOG_NAME).read_text())["resumed"] == 4


@pytest.mark.parametrize(
    ("threads", "workers", "cores", "each"),
    [(None, 1, 8, None), (None, 2, 8, 4), (None, 3, 8, 2), (None, 16, 8, 1), (5, 2, 8, 5)],
)
def test_workers_share_the_cores_unless_told_otherwise(threads, workers, cores, each):
    assert threads_of_each(threads, workers, cores) == each


def test_worker_that_cannot_be_opened_is_the_bundle_s_sentence(folder, tmp_path):
    with pytest.raises(EngineError, match="No engine today"):
        work(folder, tmp_path / "out", opening=broken)


def test_full_disk_in_a_worker_ends_the_job_and_the_next_run_does_the_rest(folder, tmp_path):
    out = tmp_path / "out"
    with (
        pytest.raises(OutputError, match="disk is full"),
        Workers(2, OPENING, write=full_disk) as crew,
    ):
        run_with(crew, folder, out)
    assert images(out) == []
    run(folder, out)
    run(folder, tmp_path / "at once")
    assert outputs(out) == outputs(tmp_path / "at once")


def start(*arguments):
    """``vera anonymize`` in a process group of its own, as a terminal starts it."""
    command = [sys.executable, str(_FAKES / "command_line.py"), "anonymize"]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def descendants(process):
    """Living processes of the group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, rest = path.read_text().rpartition(") ")
        except OSError:
            continue
        state, _, group = rest.split()[:3]
        if int(group) == process.pid and state != "Z":
            found.append(int(path.parent.name))
    return found


def test_ctrl_c_ends_all_processes_and_the_next_run_does_the_rest(tmp_path):
    out = tmp_path / "out"
    folder = write_many(tmp_path / "cases", "a", "b", "slow", "y")
    with start(folder, "--out", out, "--seed", 7, "--workers", 2) as process:
        assert process.stderr is not None
        assert [process.stderr.readline()[:9] for _ in "ab"] == ["case 1 of", "case 2 of"]
        assert wait_for(lambda: len(images(out)) == 3)  # the last one waits for the slow one's turn
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130, told
    assert "interrupted with 2 of 4 photographs done" in told
    assert len(told.splitlines()) == 1, told
    assert wait_for(lambda: not descendants(process))
    assert json.loads((out / LOG_NAME).read_text())["ended"] == "interrupted"
    (folder / "slow").rename(folder / "quick")
    assert anonymize(folder, "--out", out, "--seed", 7) == 0
    assert len(images(out)) == 4


def test_workers_end_when_their_parent_is_killed(tmp_path):
    folder = write_many(tmp_path / "cases", "a", "slow1", "slow2")
    with start(folder, "--out", tmp_path / "out", "--workers", 2) as process:
        assert wait_for(lambda: images(tmp_path / "out"))
        process.kill()
        assert wait_for(lambda: not descendants(process))


def test_real_engines_in_workers_write_the_same_images(tmp_path):
    from skimage.data import astronaut

    from vera.files.write import write_image

    for name, left in (("a", 0), ("b", 24)):
        (tmp_path / "cases" / name).mkdir(parents=True)
        write_image(tmp_path / "cases" / name / "p.png", astronaut()[:280, left : left + 360])
    arguments = ["--seed", 1, "--steps", 1, "--threads", 1]
    for workers in (1, 2):
        code = anonymize(
            tmp_path / "cases",
            "--out",
            tmp_path / f"out{workers}",
            "--workers",
            workers,
            *arguments,
            open_anonymizer=None,
        )
        assert code == 0
    one, two = (
        {path.parent.name: path.read_bytes() for path in images(tmp_path / f"out{workers}")}
        for workers in (1, 2)
    )
    assert len(one) == 2
    assert one == two
