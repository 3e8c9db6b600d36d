"""A folder of cases of tiny photographs, and a job over it without engines."""

from pathlib import Path

import numpy as np
from fake_anonymizer import FakeAnonymizer
from PIL import Image

from vera.cases import collect_cases
from vera.job import JobConfig, JobSummary, run_job
from vera.journal import JOURNAL_NAME
from vera.write import write_image

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


def run(
    folder: Path, out: Path, anonymizer: FakeAnonymizer | None = None, keep="none", **options
) -> tuple[JobSummary, FakeAnonymizer]:
    anonymizer = anonymizer or FakeAnonymizer()
    config = {"bundle": "b", "seed": 7, **options}
    write = config.pop("write", write_image)
    cases = collect_cases([folder], keep=keep, out=out)
    summary = run_job(anonymizer, cases, JobConfig(out, **config), write=write)
    return summary, anonymizer


def outputs(out: Path) -> dict[str, bytes]:
    """Everything but the journal, whose key is drawn anew."""
    found = (path for path in out.rglob("*") if path.is_file() and path.name != JOURNAL_NAME)
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


def fail_at(number: int, error: BaseException):
    """For ``FakeAnonymizer(before=...)``: raises before case ``number``, from 1."""

    def before(call: int) -> None:
        if call == number:
            raise error

    return before
