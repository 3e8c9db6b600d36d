"""The command ``vera-export repository``."""

import argparse
import sys
from pathlib import Path
from typing import Any

from vera.errors import UsageError
from vera.wire.server import Limits
from vera_export.repository.options import BACKENDS, DEVICES, ENGINES, RepositoryOptions

_LIMITS = {
    "bytes": "bytes of one photograph or mask as it is sent",
    "pixels": "pixels of one photograph",
    "photos": "photographs of one case",
    "variants": "variants of one case",
    "steps": "steps of an inversion",
    "seconds": "seconds from a request's arrival to its end",
    "case_bytes": "bytes of the photographs and masks of one case",
    "case_pixels": "pixels of the photographs of one case, times its variants",
    "queue_bytes": "bytes of the photographs and masks of all cases in hand",
}


def add_repository(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command."""
    given, limits = RepositoryOptions(), Limits()
    parser = commands.add_parser(
        "repository", help="write a model repository for Triton; needs no torch"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the repository; replaced when complete"
    )
    parser.add_argument(
        "--backend", choices=BACKENDS, required=True, help="what runs the single engines"
    )
    parser.add_argument("--bundle", type=Path, help="folder of a bundle (default: the package's)")
    parser.add_argument("--device", choices=DEVICES, help="(default: cpu; gpu for tensorrt)")
    parser.add_argument(
        "--engines",
        choices=ENGINES,
        default=given.engines,
        help="whether single engines are models beside anonymize (default: %(default)s)",
    )
    number = {"type": int, "metavar": "N"}
    _add(parser, "--slots", "cases in work at once (default: cores; 8 on a GPU)", None, **number)
    _add(parser, "--queue", "cases, and requests of an engine, that wait", given.queue, **number)
    _add(parser, "--threads", "cores that a server may use (default: all)", None, **number)
    for name, text in _LIMITS.items():
        kind = float if name == "seconds" else int
        flag = f"--max-{name.replace('_', '-')}"
        _add(parser, flag, text, getattr(limits, name), type=kind, metavar="N")
    _add(parser, "--progress-every", "send each Nth progress", given.progress_every, **number)
    parser.set_defaults(run=_run)


def _add(
    parser: argparse.ArgumentParser, flag: str, text: str, default: object, **kind: Any
) -> None:
    shown = "" if default is None else " (default: %(default)s)"
    parser.add_argument(flag, default=default, help=text + shown, **kind)


def _run(arguments: argparse.Namespace) -> int:
    from vera_export.repository.plans import SCRIPT
    from vera_export.repository.render import render

    if arguments.backend == "tensorrt" and arguments.device == "cpu":
        raise UsageError("TensorRT runs on a GPU only, got --device cpu; leave the option out.")
    device = arguments.device or ("gpu" if arguments.backend == "tensorrt" else "cpu")
    options = RepositoryOptions(
        backend=arguments.backend,
        device=device,
        engines=arguments.engines,
        slots=arguments.slots,
        queue=arguments.queue,
        threads=arguments.threads,
        limits=Limits(**{name: getattr(arguments, f"max_{name}") for name in _LIMITS}),
        progress_every=arguments.progress_every,
    )
    mark = render(arguments.out, arguments.bundle, options)
    told = f"{arguments.out}: a model repository for {mark.backend} on {device}\n"
    if mark.plans:
        told += (
            f"Triton does not load its {len(mark.plans)} engines before {SCRIPT} has run on the "
            "machine with the GPU.\n"
        )
    sys.stdout.write(told)
    return 0
