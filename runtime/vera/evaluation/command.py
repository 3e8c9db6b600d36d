"""``vera evaluate`` behind its parser: arguments become a request, recognisers get thresholds."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vera.engines import OnnxEngines
from vera.errors import UsageError
from vera.evaluation.calibration import Calibration, calibrate
from vera.evaluation.matchers import Matcher, check_names, judge_matchers, own_matcher
from vera.evaluation.people import Person, collect_people, require_pairs
from vera.evaluation.rows import Makers, check_peers, peer_folder
from vera.evaluation.run import Mode, Request, evaluate, region_name
from vera.evaluation.statistics import require_extra
from vera.gate.judge_card import write_card
from vera.gate.recogniser import Recogniser
from vera.judge import Judge
from vera.settings import Settings

_SAME = (
    "The thresholds were calibrated on the evaluated photographs themselves: rates of other "
    "photographs may differ."
)
_COARSE = (
    "The folder to calibrate with has too few pairs of different people to see the false-accept "
    "rate asked for; the threshold is the largest cosine among them."
)


@dataclass(frozen=True, slots=True, eq=False)
class _Matched:
    """The matchers and where their thresholds come from."""

    matchers: tuple[Matcher, ...]
    calibrations: tuple[Calibration, ...] = ()
    notes: tuple[str, ...] = ()


def run_command(
    args: argparse.Namespace,
    settings: Settings,
    open_anonymizer: Callable[[], Any],
    say: Callable[[str], None],
) -> Path:
    """Carries out ``vera evaluate``.

    Args:
        args: As parsed by ``vera.commands.evaluate``.
        settings: How the photographs are anonymised.
        open_anonymizer: Opens the anonymizer of ``--bundle`` and ``--threads``.
        say: Called with lines of progress.

    Returns:
        The report.

    Raises:
        UsageError: The request makes no sense.
        EngineError: An engine failed.
        OutputError: The disk is full, or the like.
    """
    require_extra()
    request, options = _request(args), _options(settings)
    peers = dict(peer_folder(text) for text in args.peer)
    if len(peers) < len(args.peer):
        raise UsageError("Two --peer have one name; give each its own.")
    check_peers(peers, request.people)
    request.rows(list(peers))  # every mistake in the request comes before the first photograph
    judges = _judges(args)
    check_names([judge.name for judge in judges], args.independent)
    anonymizer = open_anonymizer()
    engines = OnnxEngines(anonymizer.bundle, threads=args.threads)
    makers = Makers(anonymizer, engines, anonymizer.bundle, peers, args.seed, options)
    matched = _match(args, judges, makers, say)
    return evaluate(
        request,
        makers,
        matched.matchers,
        calibrations=matched.calibrations,
        notes=matched.notes,
        say=say,
    )


def _request(args: argparse.Namespace) -> Request:
    people = _people(args, args.source, args.limit)
    pairs = any(person.pairs for person in people)
    usual: tuple[Mode, ...] = ("single", "paired") if pairs else ("single",)
    return Request(
        people=people,
        keep=tuple(dict.fromkeys(region_name(text) for text in args.keep)),
        modes=tuple(dict.fromkeys(args.modes or usual)),
        out=args.out,
        baselines=tuple(dict.fromkeys(args.baselines)),
        sheets=args.sheets,
    )


def _options(settings: Settings) -> Mapping[str, Any]:
    """The settings that are not the default: a new setting then leaves earlier outputs valid."""
    if settings.frame == "crop" or settings.background == "regenerate":
        raise UsageError(
            "vera evaluate compares every output with its photograph at the same place, which "
            "frame 'crop' and background 'regenerate' do not allow; leave them out."
        )
    usual = Settings().options()
    given = settings.options()
    return {name: value for name, value in given.items() if value != usual[name]}


def _people(args: argparse.Namespace, source: Path, limit: int | None) -> tuple[Person, ...]:
    return collect_people(source, pairs_by=args.pairs_by, out=args.out, limit=limit)


def _judges(args: argparse.Namespace) -> Sequence[Any]:
    """The user's recognisers; with --calibrate they need no threshold yet."""
    threads = args.threads or len(os.sched_getaffinity(0))
    values, threshold = args.judge_values, args.judge_threshold
    if args.calibrate is None:
        return [
            Judge(path, threshold=threshold, values=values, threads=threads) for path in args.judge
        ]
    if threshold is not None:
        raise UsageError(
            "--judge-threshold and --calibrate both set the judges' thresholds; give one of them."
        )
    return [Recogniser(path, values=values, threads=threads) for path in args.judge]


def _match(
    args: argparse.Namespace, judges: Sequence[Any], makers: Makers, say: Callable[[str], None]
) -> _Matched:
    """Opens the matchers; with --calibrate sets the judges' thresholds and writes their cards."""
    own = own_matcher(makers.bundle, makers.engines)
    if args.calibrate is None:
        known = [(judge.threshold, judge.false_accept_rate, judge.calibration) for judge in judges]
        return _Matched((*judge_matchers(judges, known, args.independent), own))
    people = _people(args, args.calibrate, None)
    require_pairs(people)
    found = calibrate(
        people,
        [own.recogniser, *judges],
        makers.engines,
        false_accept_rate=args.false_accept_rate,
        say=say,
    )
    known = [(one.threshold, one.false_accept_rate, one.source) for one in found[1:]]
    matchers = judge_matchers(judges, known, args.independent)
    for model, judge, one in zip(args.judge, judges, found[1:], strict=True):
        say(f"card of {judge.name}: {_write_card(model, judge, one)}")
    same = args.calibrate.resolve() == args.source.resolve()
    notes = (_SAME,) if same else ()
    if any(one.coarse for one in found):
        notes = (*notes, _COARSE)
    return _Matched((*matchers, own), found, notes)


def _write_card(model: Path, judge: Recogniser, found: Calibration) -> Path:
    return write_card(
        model,
        threshold=found.threshold,
        values=judge.values,
        false_accept_rate=found.false_accept_rate,
        calibration=found.source,
    )
