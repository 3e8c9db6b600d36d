"""A folder of cases of tiny photographs, and a job over it without engines."""

from pathlib import Path

import numpy as np
from fake_anonymizer import FakeAnonymizer
from PIL import Image

from vera.batch.cases import collect_cases
from vera.batch.job import run_job
from vera.batch.journal import JOURNAL_NAME
from vera.batch.output import LOG_NAME
from vera.batch.plan import JobConfig
from vera.batch.summary import JobSummary
from vera.batch.workers import Crew, OwnProcess
from vera.files.write import write_image
from vera.settings import NAMES as SETTINGS
from vera.settings import Settings

NAMES = ("jane_doe", "john_smith", "zoe_miller")


def write_photo(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 10, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_cases(cases: Path) -> Path:
    """Three cases: two photographs, one photograph, a photograph and a text that is none."""
    write_photo(cases / NAMES[0] / "before.png", 1)
    write_photo(cases / NAMES[0] / "after.png", 2)
    write_photo(cases / NAMES[1] / "front.png", 3)
    write_photo(cases / NAMES[2] / "front.png", 4)
    (cases / NAMES[2] / "torn.png").write_bytes(b"not an image")
    return cases


def config_of(out: Path, **options) -> JobConfig:
    """A config; options that are settings go there."""
    settings = {name: options.pop(name) for name in SETTINGS if name in options}
    options = {"bundle": "b", "seed": 7, **options}
    return JobConfig(out, settings=Settings(**settings), **options)


def run(
    folder: Path,
    out: Path,
    anonymizer: FakeAnonymizer | None = None,
    keep="none",
    write=write_image,
    **options,
) -> tuple[JobSummary, FakeAnonymizer]:
    anonymizer = anonymizer or FakeAnonymizer()
    return run_with(OwnProcess(anonymizer, write=write), folder, out, keep, **options), anonymizer


def run_with(crew: Crew, folder: Path, out: Path, keep="none", **options) -> JobSummary:
    cases = collect_cases([folder], keep=keep, out=out)
    return run_job(crew, cases, config_of(out, **options))


def run_photos(photos, out: Path, anonymizer: FakeAnonymizer | None = None, **options):
    """One case of these photographs."""
    cases = collect_cases(photos, keep="none", out=out)
    return run_job(OwnProcess(anonymizer or FakeAnonymizer()), cases, config_of(out, **options))


def outputs(out: Path) -> dict[str, bytes]:
    """Everything but the journal, whose key is drawn anew, and the log, which tells the time."""
    found = (path for path in out.rglob("*") if path.is_file())
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in found
        if path.name not in (JOURNAL_NAME, LOG_NAME)
    }


def fail_at(number: int, error: BaseException):
    """For ``FakeAnonymizer(before=...)``: raises before case ``number``, from 1."""

    def before(call: int) -> None:
        if call == number:
            raise error

    return before
