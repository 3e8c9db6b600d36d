"""The sub-command ``vera-export evaluate``."""

import argparse
from pathlib import Path

DESCRIPTION = """\
Measures a bundle and writes report.json, report.md and contact sheets of generated faces (PNG).
What needs photographs is left out where none are given. Same bundle, data, seed and machine: same
report."""


def add_evaluate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the sub-command."""
    parser = commands.add_parser(
        "evaluate", help="write the quality report of a bundle", description=DESCRIPTION
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of aligned faces")
    parser.add_argument("--teachers", type=Path, required=True, help="folder of teacher networks")
    parser.add_argument("--bundle", type=Path, help="the bundle (default: the embedded one)")
    parser.add_argument(
        "--weights", type=Path, help="folder of <name>.safetensors it was made of: adds their sizes"
    )
    parser.add_argument(
        "--photographs",
        type=Path,
        nargs="+",
        default=[],
        help="folders of photographs and landmarks.json",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument(
        "--model-card", type=Path, help="also fill this Markdown file and put small pictures beside"
    )
    parser.add_argument("--threads", type=int, help="of the engines (default: all cores)")
    parser.add_argument("--seed", type=int, default=0, help="of every draw (default: %(default)s)")
    parser.add_argument(
        "--preset",
        choices=("default", "tiny"),
        default="default",
        help="how many images are measured (default: %(default)s)",
    )
    parser.set_defaults(run=run_evaluate)


def run_evaluate(arguments: argparse.Namespace) -> int:
    """Measures, then writes; returns the exit code."""
    from dataclasses import replace

    from vera_export.evaluation.report import check_card
    from vera_export.evaluation.run import EvaluationConfig, evaluate
    from vera_export.evaluation.write import write_card, write_report

    if arguments.model_card is not None:
        check_card(arguments.model_card)  # minutes of measuring should not be lost to a typing slip
    tiny = arguments.preset == "tiny"
    config = replace(EvaluationConfig.tiny() if tiny else EvaluationConfig(), seed=arguments.seed)
    report = evaluate(
        arguments.data,
        arguments.teachers,
        arguments.bundle,
        weights=arguments.weights,
        photographs=tuple(arguments.photographs),
        threads=arguments.threads,
        config=config,
    )
    write_report(report, arguments.out)
    if arguments.model_card is not None:
        write_card(report, arguments.model_card)
    return 0
