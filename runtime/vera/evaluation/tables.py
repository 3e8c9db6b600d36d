"""The tables: which figures stand in which, and what they mean."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from vera.evaluation.calibration import Calibration
from vera.evaluation.frechet import FEATURES, realism
from vera.evaluation.ledger import INPUT, Ledger
from vera.evaluation.matchers import Matcher
from vera.evaluation.rows import Row
from vera.evaluation.statistics import Estimate
from vera.evaluation.table import Cell, Table


def all_tables(
    rows: Sequence[Row],
    matchers: Sequence[Matcher],
    regions: Sequence[str],
    ledger: Ledger,
    calibrations: Sequence[Calibration],
) -> tuple[Table, ...]:
    """Every table of the report, without those that would be empty."""
    tables = [
        _outcomes(rows, ledger),
        _deidentification(rows, matchers, ledger),
        _pairs(rows, matchers, ledger),
        _regions(rows, regions, ledger),
        _faces(rows, ledger),
        _attributes(rows, ledger),
        _seconds(rows, ledger),
        _calibrations(calibrations),
    ]
    return tuple(table for table in tables if table.rows)


def _percent(ledger: Ledger, row: str, name: str) -> Estimate | None:
    found = ledger.estimate(row, name)
    return None if found is None else found.scaled(100.0)


def _outcomes(rows: Sequence[Row], ledger: Ledger) -> Table:
    cells = []
    for row in rows:
        written = ledger.values(row.folder, "written")
        reasons = ledger.reasons.get(row.folder, Counter())
        told = ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items()))
        cells.append(
            (row.name, row.mode, len(written), int(written.sum()), sum(reasons.values()), told)
        )
    return Table(
        "outcomes",
        "Outcomes",
        "Photographs that each method was given, and what came of them. A peer's output that is "
        "not there, or not of the photograph's frame, counts as none.",
        ("method", "mode", "photographs", "outputs", "none", "reasons"),
        tuple(cells),
    )


def _deidentification(rows: Sequence[Row], matchers: Sequence[Matcher], ledger: Ledger) -> Table:
    cells = []
    for row in rows:
        for matcher in matchers:
            found = _percent(ledger, row.folder, f"deidentified/{matcher.name}")
            intended = _percent(ledger, row.folder, f"protected/{matcher.name}")
            cosine = ledger.estimate(row.folder, f"cosine/{matcher.name}")
            count = found.count if found is not None else 0
            cells.append((row.name, row.mode, matcher.label, found, intended, cosine, count))
    return Table(
        "deidentification",
        "De-identification",
        "*Rate*: per cent of the outputs whose cosine to their original is at or below the "
        "matcher's threshold, the larger cosine of two alignments (the original's points, the "
        "output's). *Of all*: the same over all photographs with a face, where a photograph "
        "without an output counts as not de-identified. Higher is better.",
        ("method", "mode", "matcher", "rate %", "of all %", "mean cosine", "outputs"),
        tuple(cells),
    )


def _pairs(rows: Sequence[Row], matchers: Sequence[Matcher], ledger: Ledger) -> Table:
    cells: list[tuple[Cell, ...]] = []
    kept = list(dict.fromkeys(row.keep for row in rows if row.keep != "none"))
    keys = [(INPUT, "-", INPUT, region) for region in ("none", *kept)]
    keys += [(row.name, row.mode, row.folder, row.keep) for row in rows]
    for name, mode, key, keep in keys:
        for matcher in matchers:
            whole = _pair_cells(ledger, key, matcher.name, "")
            hidden = _pair_cells(ledger, key, matcher.name, f"/{keep}")
            label = f"input, {keep}" if key == INPUT and keep != "none" else name
            others = ledger.others(key, matcher.name, matcher.threshold)
            percent = None if others is None else 100 * others
            match, offset = whole
            # Of the photographs every pair has both.
            all_pairs = _percent(ledger, key, f"within_all/{matcher.name}")
            every = match if key == INPUT else all_pairs
            if every is None:
                continue
            count = 0 if match is None else match.count
            cells.append(
                (label, mode, matcher.label, match, every, offset, *hidden, percent, count)
            )
    return Table(
        "pairs",
        "One person within pairs",
        "*Match*: per cent of the pairs of one person whose two outputs match (cosine above the "
        "threshold). *Of all*: the same over all pairs whose photographs show faces, where a pair "
        "without both outputs counts as no match; the rates to compare with *input*. *Offset*: "
        "mean of d(a', b') - d(a, b), where d is the Euclidean distance of the unit embeddings and "
        "a, b are the originals. *Hidden*: match and offset with the kept region "
        "of all four photographs painted in one colour, because kept pixels alone make outputs "
        "alike. *Others*: per cent of the pairs of outputs of two people that match; where "
        "these match as well, as blurred faces do, a match within pairs says nothing. The rows "
        "*input* are the photographs as they were: what paired outputs should "
        "come near.",
        (
            *("method", "mode", "matcher", "match %", "of all %", "offset"),
            *("match % hidden", "offset hidden", "others %", "pairs"),
        ),
        tuple(cells),
    )


def _pair_cells(
    ledger: Ledger, row: str, matcher: str, region: str
) -> tuple[Estimate | None, Estimate | None]:
    return (
        _percent(ledger, row, f"within/{matcher}{region}"),
        ledger.estimate(row, f"offset/{matcher}{region}"),
    )


def _regions(rows: Sequence[Row], regions: Sequence[str], ledger: Ledger) -> Table:
    cells: list[tuple[Cell, ...]] = []
    for row in rows:
        # A row that keeps something is read by what it keeps; the others by every region.
        for region in regions if row.keep == "none" else (row.keep,):
            figures = [
                ledger.estimate(row.folder, f"{name}/{region}")
                for name in ("l1", "psnr", "iou", "offset_px", "offset")
            ]
            exact = ledger.values(row.folder, f"exact/{region}")
            if not len(exact):
                continue
            told = f"{int(exact.sum())} of {len(exact)}"
            cells.append((row.name, row.mode, region, told, *figures))
    return Table(
        "regions",
        "Regions of the photograph",
        "*Exact*: outputs whose every pixel in the region equals the photograph's; *PSNR* is the "
        "mean over the others (an exact one's is infinite). *l1*: grey levels of 255. *IoU*: of "
        "the region's parts, by VerA's parser, in the original's own crop. *Points*: shift of "
        "the points in the region (two eye centres, nose tip, two mouth corners; there are no "
        "finer landmarks) as VerA finds them, in pixels of the photograph and in per cent of the "
        "eye distance; the points are found anew, so also an exact region's have some.",
        ("method", "mode", "region", "exact", "l1", "PSNR dB", "IoU", "points px", "points %"),
        tuple(cells),
    )


def _faces(rows: Sequence[Row], ledger: Ledger) -> Table:
    cells: list[tuple[Cell, ...]] = []
    originals = ledger.features.get(INPUT, [])
    for row in rows:
        outputs = ledger.features.get(row.folder, [])
        found = realism(originals, outputs)
        cells.append(
            (
                row.name,
                row.mode,
                _percent(ledger, row.folder, "detected"),
                ledger.estimate(row.folder, "box_iou"),
                None if found is None else found.distance,
                None if found is None else found.originals,
                len(outputs),
                ledger.estimate(row.folder, "seam"),
                ledger.estimate(row.folder, "seam_p95"),
            )
        )
    return Table(
        "faces",
        "Faces and realism",
        "*Detected*, *box IoU*: by VerA's own detector, at the original's place. *Fréchet*: "
        f"Fréchet distance on {FEATURES}, each scaled by its spread, of the aligned faces of one "
        "random half of the people to the originals of the other half, as many on both sides; "
        "*originals'*: the same with originals in place of the outputs, which perfect outputs "
        "would come to. Both are means over ten splits. This is no FID; it falls with the number "
        "of faces, so that *Fréchet* is read beside its own *originals'*. "
        "*Seam*: step in grey levels across the border of what was changed, less the "
        "photograph's own step there.",
        (
            *("method", "mode", "detected %", "box IoU", "Fréchet", "originals'", "faces"),
            *("seam", "seam p95"),
        ),
        tuple(cells),
    )


def _attributes(rows: Sequence[Row], ledger: Ledger) -> Table:
    names = ("yaw", "pitch", "roll", "expression", "mouth_open", "age", "skin_tone")
    cells = [
        (row.name, row.mode, *(ledger.estimate(row.folder, name) for name in names)) for row in rows
    ]
    return Table(
        "attributes",
        "Attributes",
        "Mean absolute change, by VerA's attribute network, where the face was found again: yaw, "
        "pitch and roll in degrees, expression as total variation distance of the class "
        "probabilities (0 to 1), opening of the mouth in widths of it, age in years, skin tone as "
        "CIE 1976 colour difference. Lower is better.",
        (
            *("method", "mode", "yaw", "pitch", "roll"),
            *("expression", "mouth", "age", "skin tone"),
        ),
        tuple(cells),
    )


def _seconds(rows: Sequence[Row], ledger: Ledger) -> Table:
    cells: list[tuple[Cell, ...]] = []
    for row in rows:
        for name in ledger.names(row.folder):
            if name != "seconds" and not name.startswith("ms/"):
                continue
            values = ledger.values(row.folder, name)
            values = values if name == "seconds" else values / 1000
            stage = "all" if name == "seconds" else name.removeprefix("ms/")
            middle, slow = float(np.median(values)), float(np.percentile(values, 95))
            cells.append((row.name, row.mode, stage, middle, slow, len(values)))
    return Table(
        "seconds",
        "Time",
        "Seconds of a photograph. *all* is the wall-clock time of its case over the photographs "
        "of that; the stages are the reports' own, where stages that a case shares are told in "
        "full for each photograph. Other programs on the machine are not subtracted; outputs of an "
        "earlier run have that run's times.",
        ("method", "mode", "stage", "median", "95th percentile", "photographs"),
        tuple(cells),
    )


def _calibrations(calibrations: Sequence[Calibration]) -> Table:
    cells: list[tuple[Cell, ...]] = [
        (
            one.name,
            one.threshold,
            one.wanted_rate,
            one.false_accept_rate,
            one.true_accept.scaled(100.0),
            one.impostor_pairs,
            one.genuine_pairs,
            one.photographs,
            one.people,
        )
        for one in calibrations
    ]
    return Table(
        "calibration",
        "Calibration",
        "Thresholds from a folder whose people are known: the smallest cosine at which the share "
        "of accepted impostor pairs (photographs of two people) is at most the one wanted. "
        "*True accept*: share of genuine pairs above it.",
        (
            *("matcher", "threshold", "wanted false accept", "false accept", "true accept %"),
            *("impostor pairs", "genuine pairs", "photographs", "people"),
        ),
        tuple(cells),
    )
