"""Export of the public 512 px generator at its full size: seconds, memory, file sizes, parity.

    python bench/export_512.py [--folder FOLDER] [--size 512|256] [--perceptual lpips|vera]

The checkpoint has random weights in the exact layout: none of these figures depends on the values.
Memory is the largest resident size of this process so far, after each phase.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timing
import torch

from vera import contract
from vera_export import parity
from vera_export.convert.samples import random_checkpoint
from vera_export.convert.semantic import convert_generator
from vera_export.layout import layout_of
from vera_export.models import public_generator
from vera_export.models.perceptual import Perceptual
from vera_export.models.vgg import Vgg
from vera_export.storage import halve, round_weights, share
from vera_export.to_onnx import (
    folded,
    generator_function,
    generator_to_onnx,
    gradient_pair,
    perceptual_to_onnx,
)

PHASES: dict[str, dict[str, float]] = {}


def phase(name: str, work: Callable[[], Any]) -> Any:
    start = time.monotonic()
    result = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    PHASES[name] = {"seconds": round(time.monotonic() - start, 1), "peak_mib": round(peak)}
    print(f"{name:24s} {PHASES[name]['seconds']:8.1f} s   peak {peak:8.0f} MiB", flush=True)
    return result


def convert(folder: Path, size: int) -> None:
    torch.save(random_checkpoint(), folder / "public.pt")
    convert_generator(folder / "public.pt", folder, size)


def export(folder: Path, generator: torch.nn.Module, perceptual: torch.nn.Module) -> Any:
    layout = layout_of(generator, perceptual)
    pair = phase("export of the pair", lambda: gradient_pair(generator, perceptual))
    single = phase("export for synthesis", lambda: generator_to_onnx(generator))
    models = {
        "generator": single,
        "generator_forward": pair.forward,
        "generator_backward": pair.backward,
        "perceptual": perceptual_to_onnx(perceptual, layout),
    }
    for name, model in models.items():
        print(f"{name:24s} {len(model.graph.node)} nodes", flush=True)
        halve(model)
    phase("writing", lambda: share(models, folder, "weights.bin"))
    return pair


def check(folder: Path, generator: Any, perceptual: Any, pair: Any) -> dict[str, Any]:
    layout = layout_of(generator, perceptual)
    specs = contract.engines(layout)
    forward = parity.session(str(folder / "generator_forward.onnx"), 2)
    backward = parity.session(str(folder / "generator_backward.onnx"), 2)
    source = generator_function(generator, perceptual)
    rewritten = generator_function(folded(generator), folded(perceptual))
    figures = {
        "forward": phase(
            "parity: forward",
            lambda: parity.check_engine(forward, specs["generator_forward"], source, (1, 2)),
        ),
        "trace": phase(
            "parity: trace", lambda: parity.check_trace(pair.split, rewritten, (1,), layout)
        ),
        "backward": phase(
            "parity: backward",
            lambda: parity.check_backward(forward, backward, pair.split, (1,), layout),
        ),
        "rewrite": phase("parity: rewrite", lambda: parity.check_rewrite(generator, perceptual, 1)),
    }
    for link, table in figures.items():
        for name, figure in table.items():
            print(f"{link:9s} {name:14s} {figure['maximum']:.2e}, {figure['share']:.2%} allowed")
    return figures


def step(folder: Path, layout: contract.Layout, threads: int) -> dict[str, float]:
    """Seconds of one step of the inversion without its loss, best of three."""
    from vera.engines import OnnxGradient

    gradient = OnnxGradient(
        *(
            parity.session(str(folder / f"generator_{half}.onnx"), threads)
            for half in ("forward", "backward")
        ),
        layout,
    )
    random = np.random.default_rng(0)
    latent = random.standard_normal((1, contract.LATENT_ROWS, layout.latent_width), np.float32)
    specs = contract.engines(layout)["generator_backward"].inputs
    grads = {s.name: random.standard_normal([d or 1 for d in s.shape], np.float32) for s in specs}
    best = {"forward": float("inf"), "backward": float("inf")}
    for _ in range(3):
        start = time.monotonic()
        gradient.forward(latent)
        middle = time.monotonic()
        gradient.backward(grads)
        best["forward"] = min(best["forward"], middle - start)
        best["backward"] = min(best["backward"], time.monotonic() - middle)
    return {name: round(seconds, 2) for name, seconds in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="kept afterwards; else a temporary one")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--perceptual", choices=("lpips", "vera"), default="lpips")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        phase("conversion", lambda: convert(folder, arguments.size))
        generator = public_generator.load(folder / "generator.safetensors")
        perceptual = Vgg() if arguments.perceptual == "lpips" else Perceptual()
        for network in (generator, perceptual):
            round_weights(network.eval().requires_grad_(False))
        pair = export(folder, generator, perceptual)
        sizes = {f.name: f.stat().st_size for f in sorted(folder.iterdir())}
        for name, size in sizes.items():
            print(f"{name:28s} {size / 1e6:8.1f} MB", flush=True)
        figures = check(folder, generator, perceptual, pair)
        del pair
        timed = phase(
            "steps", lambda: step(folder, layout_of(generator, perceptual), arguments.threads)
        )
    print(json.dumps({"step_seconds": timed, **timing.machine()}))
    if arguments.out:
        record = {"phases": PHASES, "bytes": sizes, "parity": figures, "step_seconds": timed}
        arguments.out.write_text(json.dumps({**record, "machine": timing.machine()}, indent=1))


if __name__ == "__main__":
    main()
