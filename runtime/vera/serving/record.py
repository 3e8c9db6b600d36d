"""What a finished case leaves behind: metrics and one line of the log."""

from collections.abc import Mapping, Sequence

from vera.errors import BusyError, CancelledError, DeadlineError, ShapeError, UsageError, VeraError
from vera.report import PhotoReport
from vera.scheduling.job import Times
from vera.serving.log import Fact, places, write_line
from vera.serving.metrics import Metrics

_VERDICTS: Mapping[type[Exception], str] = {
    BusyError: "rejected",
    UsageError: "invalid",
    ShapeError: "invalid",
    CancelledError: "cancelled",
    DeadlineError: "deadline",
}

# Whose time a stage's is in a report, by fields of the report: each is counted once.
_OWNERS: Mapping[str, tuple[str, ...]] = {
    "invert": (),
    "find": ("photo",),
    "draw": ("variant",),
}
_EACH = ("photo", "variant")


def verdict_of(error: Exception) -> str:
    """The verdict of a case that ended in ``error``."""
    return next((v for kind, v in _VERDICTS.items() if isinstance(error, kind)), "failed")


def stage_seconds(reports: Sequence[PhotoReport]) -> dict[str, float]:
    """Seconds of a case per stage; times that photographs or variants share count once."""
    seen: dict[tuple[str | int, ...], float] = {}
    for report in reports:
        for name, milliseconds in report.milliseconds.items():
            owner = [int(getattr(report, field)) for field in _OWNERS.get(name, _EACH)]
            seen[name, *owner] = max(seen.get((name, *owner), 0.0), milliseconds)
    seconds: dict[str, float] = {}
    for key, milliseconds in seen.items():
        stage = str(key[0])
        seconds[stage] = seconds.get(stage, 0.0) + milliseconds / 1000
    return {stage: round(value, 4) for stage, value in seconds.items()}


class Record:
    """Writes down how cases ended."""

    def __init__(self, metrics: Metrics) -> None:
        """Into these metrics, and onto standard error."""
        self._metrics = metrics

    def done(
        self,
        number: str,
        reports: Sequence[PhotoReport],
        *,
        encode_s: float,
        times: Times,
    ) -> None:
        """A case that ended in results."""
        verdicts = [report.verdict for report in reports]
        verdict = "refused" if "refused" in verdicts else "anonymized"
        stages = {**stage_seconds(reports), "encode": round(encode_s, 4)}
        self._metrics.count("vera_cases_total", verdict)
        for one in verdicts:
            self._metrics.count("vera_photos_total", one)
        for stage, seconds in stages.items():
            self._metrics.observe("vera_stage_seconds", seconds, stage)
        self._metrics.observe("vera_queue_seconds", times.queue_s)
        self._metrics.observe("vera_case_seconds", times.work_s)
        self._metrics.count("vera_inversion_steps_total", amount=times.steps)
        for report in reports:
            for face in report.faces:
                self._metrics.observe("vera_gate_cosine", face.identity_cosine)
        write_line(
            "case",
            request=number,
            verdict=verdict,
            results=len(verdicts),
            steps=times.steps,
            queue_s=round(times.queue_s, 4),
            work_s=round(times.work_s, 4),
            stages=stages,
        )

    def failed(self, number: str, error: Exception, *, case: bool = True) -> None:
        """A case that ended in an error or was never begun; without ``case`` something else."""
        verdict = verdict_of(error)
        if case:
            self._metrics.count("vera_cases_total", verdict)
        facts: dict[str, Fact] = {"error": type(error).__name__}
        if isinstance(error, VeraError):
            # Sentences of ours count photographs and name none; a usage error repeats its client.
            if verdict == "failed":
                facts["said"] = str(error)
        else:
            facts["places"] = places(error)
        write_line("case" if case else "check", request=number, verdict=verdict, **facts)
