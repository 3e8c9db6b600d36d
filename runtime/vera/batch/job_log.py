"""The log of a run for machines, ``vera-log.json``: what became of each case, without names.

Cases are numbered as they were listed; original file names and case ids are not in it. Output names
are, which hold the originals' only with ``--names original``. The format is in docs/batch.md.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vera.batch.plan import JobConfig
from vera.batch.summary import CaseOutcome, JobSummary
from vera.errors import VeraError
from vera.files.write import write_text
from vera.versions import __version__

LOG_FORMAT = 1  # raised when a field changes its meaning or goes away


@dataclass(slots=True)
class JobLog:
    """Collects the cases of a run and writes them at its end.

    Attributes:
        path: The file.
        config: The job's.
        workers: Processes.
        cases: One entry per case that has a verdict.
    """

    path: Path
    config: JobConfig
    workers: int = 1
    cases: list[Mapping[str, Any]] = field(default_factory=list)

    def add(self, outcome: CaseOutcome) -> None:
        """Note one case."""
        self.cases.append(
            {
                "case": outcome.number,
                "photos": len(outcome.case.photos),
                "outputs": outcome.stems,
                "verdicts": [photo.verdict for photo in outcome.photos],
                "reasons": [photo.reason for photo in outcome.photos],
                "seconds": round(outcome.seconds, 3),
                "resumed": outcome.resumed,
            }
        )

    def write(self, summary: JobSummary, error: BaseException | None) -> None:
        """Write the log, whole or not at all.

        Args:
            summary: The counts.
            error: What broke the run off, or None.

        Raises:
            OutputError: It cannot be written.
        """
        config = self.config
        log = {
            "vera_log": LOG_FORMAT,
            "vera": __version__,
            "ended": _ended(error),
            "error": str(error) if isinstance(error, VeraError) else None,
            "bundle": config.bundle,
            "settings": dict(config.settings.options()),
            "format": config.format,
            "names": config.names,
            "keyed": config.secret is not None,
            "distinct": config.distinct,
            "workers": self.workers,
            "photos": summary.photos,
            "done": summary.done,
            "resumed": summary.resumed,
            "anonymized": summary.anonymized,
            "refused": dict(sorted(summary.refused.items())),
            "failed_cases": summary.failed,
            "skipped": summary.skipped,
            "seconds": round(summary.seconds, 3),
            "stage_median_ms": summary.stage_medians(),
            "cases": self.cases,
        }
        write_text(self.path, json.dumps(log, indent=1, allow_nan=False) + "\n")


def _ended(error: BaseException | None) -> str:
    if error is None:
        return "finished"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
