"""inversion_loss against torch, forward and backward: eager as published, eager with a cached
target, and torch.compile of the form that it fuses best.

    python bench/inversion_loss.py [--case vgg16_b1 ...] [--samples 9] [--no-trim] [--cpu-time]

Every program runs in a process of its own (the thread pool of torch slows down others in its
process), on the same inputs, and compares its values and gradients with those of eager torch before
it is timed. Prints a line of JSON per program and a line of ratios per case.

Eager torch on a CPU spends much of its time in page faults, because glibc gives memory back to the
system after each call. ``--no-trim`` runs everything with GLIBC_TUNABLES that keep it.
On a machine that is never quiet, ``--cpu-time`` compares one thread's seconds on a core.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from timing import copy_bandwidth, machine, measure, print_json, timing_row

NO_TRIM = ":".join(
    f"glibc.malloc.{name}"
    for name in ("mmap_threshold=4294967296", "trim_threshold=8589934592", "top_pad=268435456")
)
PROGRAMS = ("ours", "eager", "eager_cached", "compile")
VGG16 = ((64, 256), (128, 128), (256, 64), (512, 32), (512, 16))  # taps of lpips at 256 px
TOLERANCE = 5e-6  # of the largest gradient; both sides are float32


@dataclass(frozen=True)
class Case:
    """Layers (channels, side) for the perceptual term, or classes and side for segmentation."""

    batch: int
    layers: tuple[tuple[int, int], ...] = ()
    segmentation: tuple[int, int] = (0, 0)

    def inputs(self) -> dict[str, Any]:
        """The same arrays in every process."""
        random = np.random.default_rng(0)

        def normal(c: int, side: int) -> Any:
            return random.standard_normal((self.batch, c, side, side), np.float32)

        if self.layers:
            return {
                "x": [np.maximum(normal(*layer), 0) for layer in self.layers],
                "y": [np.maximum(normal(*layer), 0) for layer in self.layers],
                "w": [random.random(c, np.float32) for c, _ in self.layers],
            }
        classes, side = self.segmentation
        shape = (self.batch, side, side)
        return {
            "x": [normal(classes, side)],
            "labels": random.integers(0, classes, shape).astype(np.uint8),
            "w": random.random(shape, np.float32) + np.float32(0.1),
        }

    def bytes_moved(self) -> int:
        """What must cross the memory bus once: outputs and target in, gradient out."""
        if self.layers:
            return 3 * 4 * self.batch * sum(c * side * side for c, side in self.layers)
        classes, side = self.segmentation
        return self.batch * side * side * (2 * 4 * classes + 4 + 1)


def _cases() -> dict[str, Case]:
    from vera.contract import CLASS_COUNT, PERCEPTUAL_TAPS, SEGMENTATION_SIZE

    segmentations = ((CLASS_COUNT, SEGMENTATION_SIZE), (13, 256), (19, 512))
    cases = {}
    for batch in (1, 4):
        cases[f"vgg16_b{batch}"] = Case(batch, VGG16)
        cases[f"contract_b{batch}"] = Case(batch, PERCEPTUAL_TAPS)
        for classes, side in segmentations:
            cases[f"segmentation_{classes}x{side}_b{batch}"] = Case(
                batch, segmentation=(classes, side)
            )
    return cases


Step = Callable[[], tuple[float, list[Any]]]  # the summed value, and the gradients


def _ours(case: Case, inputs: dict[str, Any]) -> Step:
    from vera.ops import LossWeights, buffers_for, inversion_loss, prepare_target

    if case.layers:
        target = prepare_target(
            features=inputs["y"], feature_weights=inputs["w"], weights=LossWeights(perceptual=1.0)
        )
        outputs = {f"feature_{i}": x for i, x in enumerate(inputs["x"])}
    else:
        target = prepare_target(
            labels=inputs["labels"],
            label_weight=inputs["w"],
            weights=LossWeights(segmentation=1.0),
            classes=case.segmentation[0],
        )
        outputs = {"segmentation": inputs["x"][0]}
    buffers = buffers_for(target)

    def step() -> tuple[float, list[Any]]:
        values = inversion_loss(outputs, target, buffers)
        return float(values.sum()), list(buffers.gradients.values())

    return step


def _torch(case: Case, inputs: dict[str, Any], program: str) -> Step:
    import torch
    import torch.nn.functional as F

    def norm(x: Any) -> Any:
        return x / (torch.sqrt(torch.sum(x**2, dim=1, keepdim=True)) + 1e-10)

    xs = [torch.from_numpy(x).requires_grad_() for x in inputs["x"]]
    if case.layers:
        ys = [torch.from_numpy(y) for y in inputs["y"]]
        ws = [torch.from_numpy(w) for w in inputs["w"]]
        normalised = [norm(y) for y in ys]
        kernels = [w[None, :, None, None] for w in ws]
        columns = [w[:, None, None] for w in ws]

        def published() -> Any:
            pairs = zip(xs, ys, kernels, strict=True)
            return sum(
                F.conv2d((norm(x) - norm(y)) ** 2, k).mean([2, 3]).sum() for x, y, k in pairs
            )

        def cached() -> Any:
            pairs = zip(xs, normalised, kernels, strict=True)
            return sum(F.conv2d((norm(x) - y) ** 2, k).mean([2, 3]).sum() for x, y, k in pairs)

        def fusable() -> Any:
            pairs = zip(xs, normalised, columns, strict=True)
            return sum((((norm(x) - y) ** 2) * w).sum(1).mean([1, 2]).sum() for x, y, w in pairs)

        forms = {"eager": published, "eager_cached": cached, "compile": fusable}
    else:
        labels = torch.from_numpy(inputs["labels"]).long()
        weight = torch.from_numpy(inputs["w"])
        total = weight.sum((1, 2))

        def cross_entropy() -> Any:
            each = F.cross_entropy(xs[0], labels, reduction="none")
            return ((each * weight).sum((1, 2)) / total).sum()

        forms = dict.fromkeys(("eager", "eager_cached", "compile"), cross_entropy)
    form = torch.compile(forms[program]) if program == "compile" else forms[program]

    def step() -> tuple[float, list[Any]]:
        for x in xs:
            x.grad = None
        loss = form()
        loss.backward()
        return float(loss.detach()), [x.grad for x in xs]

    return step


def _run_program(name: str, program: str, reference: Path, samples: int, cpu_time: bool) -> None:
    """In a process of its own: compare with the reference, then time."""
    case = _cases()[name]
    inputs = case.inputs()
    if program == "ours":
        step = _ours(case, inputs)
    else:
        step = _torch(case, inputs, "eager" if program == "reference" else program)
    value, gradients = step()
    arrays = {f"grad_{i}": np.nan_to_num(np.asarray(g)) for i, g in enumerate(gradients)}
    if program == "reference":
        np.savez(reference, value=value, **arrays)
        return
    expected = np.load(reference)
    assert abs(value - expected["value"]) < 1e-5 * abs(expected["value"]), (
        value,
        expected["value"],
    )
    for key, gradient in arrays.items():
        error = np.abs(gradient - expected[key]).max() / np.abs(expected[key]).max()
        assert error < TOLERANCE, (name, program, key, error)
    timing = measure(step, samples=samples, cpu_time=cpu_time)
    row = {"case": name, "program": program, **timing_row(timing)}
    print_json(row | {"bytes_per_s": case.bytes_moved() / timing.figure_s})


def _compare(name: str, samples: int, flags: list[str]) -> dict[str, float]:
    """Milliseconds of every program."""
    environment = dict(os.environ)
    if "--no-trim" in flags:
        environment["GLIBC_TUNABLES"] = NO_TRIM
    if "--cpu-time" in flags:
        environment["OMP_NUM_THREADS"] = "1"
    milliseconds = {}
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / "reference.npz"
        for program in ("reference", *PROGRAMS):
            if program == "eager_cached" and not _cases()[name].layers:
                continue  # nothing to cache
            command = [sys.executable, __file__, "--case", name, "--samples", str(samples)]
            command += ["--program", program, "--reference", str(reference), *flags]
            done = subprocess.run(
                command, env=environment, check=True, stdout=subprocess.PIPE, text=True
            )
            if program != "reference":
                print(done.stdout, end="", flush=True)
                row = json.loads(done.stdout)
                milliseconds[program] = row["median_ms"] or row["best_ms"]
    return milliseconds


def main() -> None:
    """Parse, compare, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--case", nargs="+", choices=list(_cases()), default=list(_cases()))
    parser.add_argument("--samples", type=int, default=9, help="quiet samples wanted")
    parser.add_argument("--no-trim", action="store_true", help="let glibc keep freed memory")
    parser.add_argument("--cpu-time", action="store_true", help="one thread, seconds on a core")
    parser.add_argument("--program", help=argparse.SUPPRESS)
    parser.add_argument("--reference", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.program:
        case, program = options.case[0], options.program
        _run_program(case, program, options.reference, options.samples, options.cpu_time)
        return
    from vera.ops import build_info

    flags = ["--no-trim"] * options.no_trim + ["--cpu-time"] * options.cpu_time
    copy = copy_bandwidth(1 if options.cpu_time else os.cpu_count() or 1, cpu_time=options.cpu_time)
    print_json({"machine": machine(), "build": build_info(), "copy_bytes_per_s": copy})
    for name in options.case:
        times = _compare(name, options.samples, flags)
        ratios = {key: round(ms / times["ours"], 2) for key, ms in times.items() if key != "ours"}
        achieved = _cases()[name].bytes_moved() / times["ours"] * 1e3
        print_json(
            {"case": name, "ours_is_faster_by": ratios, "share_of_copy": round(achieved / copy, 2)}
        )


if __name__ == "__main__":
    main()
