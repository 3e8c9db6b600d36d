"""The whole evaluation: from a request to a folder of results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vera.batch.output import locked
from vera.errors import UsageError
from vera.evaluation.calibration import Calibration
from vera.evaluation.document import write_report, write_results
from vera.evaluation.earlier import remove_results
from vera.evaluation.facts import gather
from vera.evaluation.matchers import Matcher
from vera.evaluation.measure import Instruments
from vera.evaluation.outputs import Outputs
from vera.evaluation.people import Person, require_pairs
from vera.evaluation.plots import draw_plots
from vera.evaluation.rows import Makers, Row
from vera.evaluation.sheets import WARNING, write_sheets
from vera.evaluation.survey import make_outputs, survey
from vera.evaluation.tables import all_tables
from vera.files.write import prepare_folder
from vera.request.keep import Keep

# Looked at in rows that keep nothing, where no other region is asked for.
_USUAL_REGIONS = ("mouth", "nose", "eyes")


Mode = Literal["single", "paired"]


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be evaluated.

    Attributes:
        people: Who is in the folder.
        keep: Names of regions as in ``Keep.name``, ``none`` for the standard mode.
        modes: Of VerA's rows.
        baselines: Out of ``baselines.BASELINES``.
        out: The folder of results.
        sheets: Whether contact sheets are written, which show the originals.
    """

    people: tuple[Person, ...]
    keep: tuple[str, ...]
    modes: tuple[Mode, ...]
    out: Path
    baselines: tuple[str, ...] = ()
    sheets: bool = False

    def rows(self, peers: Sequence[str]) -> tuple[Row, ...]:
        """VerA's rows, then the baselines', then the ``peers``'.

        Raises:
            UsageError: Paired mode is asked for, but nobody has two photographs.
        """
        if "paired" in self.modes:
            require_pairs(self.people)
        rows = [Row("vera", "vera", keep, mode) for keep in self.keep for mode in self.modes]
        rows += [
            Row("baseline", name, keep, "each") for name in self.baselines for keep in self.keep
        ]
        rows += [Row("peer", name, "none", "each") for name in peers]
        return tuple(rows)

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions that are looked at."""
        asked = tuple(name for name in self.keep if name != "none")
        return asked or _USUAL_REGIONS


def region_name(text: str) -> str:
    """The name of a region to keep, such as ``eyes,brows``; ``standard`` is ``none``.

    Raises:
        UsageError: No named region: masks and polygons belong to one photograph.
    """
    keep = Keep.parse("none" if text == "standard" else text)
    if keep.regions or keep.nothing:
        return keep.name
    raise UsageError(
        "vera evaluate keeps named regions only; use none, mouth, nose, eyes, or several joined by "
        "commas."
    )


def evaluate(
    request: Request,
    makers: Makers,
    matchers: Sequence[Matcher],
    *,
    calibrations: Sequence[Calibration] = (),
    notes: Sequence[str] = (),
    say: Callable[[str], None],
) -> Path:
    """Makes the outputs that are missing, measures all of them and writes the results.

    Args:
        request: What is to be evaluated.
        makers: What outputs are made with.
        matchers: Recognisers with thresholds, VerA's own among them.
        calibrations: Where their thresholds come from, if from a folder.
        notes: Sentences for the report's head.
        say: Called with a line of progress now and then.

    Returns:
        The report.

    Raises:
        UsageError: The request makes no sense.
        EngineError: An engine failed.
        OutputError: The disk is full, or the like.
    """
    rows = request.rows(list(makers.peers))
    prepare_folder(request.out)
    with locked(request.out):
        outputs = Outputs(request.out / "outputs")
        resumed = make_outputs(request.people, rows, outputs, makers, say)
        if resumed:
            say(f"outputs of an earlier run: {resumed}")
        margin = makers.options.get("keep_margin")
        tools = Instruments(makers.engines, matchers, request.regions, margin)
        ledger = survey(request.people, rows, outputs, makers, tools, say)
        remove_results(request.out)
        notes = [*notes, *_warnings(request, outputs)]
        facts = gather(request.people, makers, matchers, calibrations, notes)
        tables = all_tables(rows, matchers, request.regions, ledger, calibrations)
        write_results(request.out, facts, rows, tables, ledger)
        prepare_folder(request.out / "plots")
        plots = draw_plots(request.out / "plots", rows, matchers, ledger)
        if request.sheets:
            say("contact sheets")
            write_sheets(request.out / "sheets", request.people, rows, outputs, makers)
        write_report(request.out, facts, tables, plots)
    return request.out / "report.md"


def _warnings(request: Request, outputs: Outputs) -> list[str]:
    """What of the folder must not be passed on."""
    found = []
    if request.sheets or (request.out / "sheets").exists():
        found.append(WARNING)
    baselines = outputs.baselines()
    if baselines:
        found.append(
            f"The outputs of the baselines ({', '.join(baselines)}) passed no gate: they are "
            "pictures of the patients, who may be recognised in them. Their folders under outputs "
            "must be guarded like the photographs."
        )
    return found
