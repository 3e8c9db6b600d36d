"""A whole inversion step: forward, loss and its gradients, backward, Adam; ours against torch.

    python bench/step.py [--folder FOLDER] [--rounds 3] [--out step.json]

Networks have random weights in the size that ships: speed does not depend on the values. Each
contender runs in a process of its own, because torch's thread pool slows onnxruntime down inside
one process; the rounds are interleaved, and the figure is the best round. "published" recomputes
the target's features in every step and leaves the weights requiring gradients, as inversion code
does; "trimmed" caches them and freezes the weights. The gradients are compared before anything is
timed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timing

CONTENDERS = ("ours", "eager-trimmed", "eager-published", "compile-trimmed", "compile-published")
WEIGHTS = {"pixel": 1.0, "perceptual": 1.0, "segmentation": 0.1, "coarse": 0.05}
RATE, STEPS = 0.02, 10**6
LATENT = (32, 64)
# A leaky ReLU whose input rounds to the other side of zero changes a few elements of the gradient.
AGREEMENT = 0.02  # relative, Euclidean


def prepare(folder: Path) -> None:
    """Random networks as engines and as a state for torch, and one photograph's targets."""
    import torch

    from vera import contract
    from vera_export.registry import random_networks
    from vera_export.storage import halve, round_weights, share
    from vera_export.to_onnx import gradient_pair

    torch.set_num_threads(2)
    networks = random_networks("default")
    generator, perceptual = (round_weights(networks[n]) for n in ("generator", "perceptual"))
    pair = gradient_pair(generator, perceptual)
    models = {"generator_forward": pair.forward, "generator_backward": pair.backward}
    for model in models.values():
        halve(model)
    share(models, folder, "weights.bin")
    rng = np.random.default_rng(0)
    latent, other = (rng.standard_normal((1, *LATENT)).astype(np.float32) for _ in range(2))
    with torch.no_grad():
        image = generator(torch.from_numpy(other))[0]
        features = {f"feature_{i}": f.numpy() for i, f in enumerate(perceptual(image))}
    k = contract.CLASS_COUNT
    arrays = {
        "image": image.numpy(),
        "latent": latent,
        "labels": rng.integers(0, k, (1, 128, 128), np.uint8),
        "coarse": rng.integers(0, k, (1, 32, 32), np.uint8),
    }
    np.savez(folder / "target.npz", **arrays, **features)
    states = {"generator": generator.state_dict(), "perceptual": perceptual.state_dict()}
    torch.save(states, folder / "networks.pt")


def ours(folder: Path, threads: int) -> tuple[Callable[[], object], Callable[[], np.ndarray]]:
    """The step as the runtime takes it."""
    import onnxruntime

    from vera.engines import OnnxGradient
    from vera.ops.adam_step import adam_state_for, adam_step
    from vera.ops.inversion_loss import buffers_for, inversion_loss
    from vera.ops.inversion_target import LossWeights, prepare_target

    data = np.load(folder / "target.npz")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as in vera.engines
    gradient = OnnxGradient(
        *(
            onnxruntime.InferenceSession(str(folder / f"generator_{half}.onnx"), options)
            for half in ("forward", "backward")
        )
    )
    target = prepare_target(
        image=data["image"],
        features=[data[f"feature_{i}"] for i in range(4)],
        labels=data["labels"],
        coarse_labels=data["coarse"],
        weights=LossWeights(**WEIGHTS),
    )
    buffers = buffers_for(target)
    latent = data["latent"].copy()
    state = adam_state_for(latent)

    def grad() -> np.ndarray:
        gradient.forward(latent)
        inversion_loss(gradient.outputs, target, buffers, threads=threads)
        return gradient.backward(buffers.gradients)

    def step() -> None:
        adam_step(latent, grad(), state, step=1, steps=STEPS, learning_rate=RATE)

    return step, lambda: grad().copy()


def torch_step(
    folder: Path, threads: int, kind: str
) -> tuple[Callable[[], object], Callable[[], np.ndarray]]:
    """The step in torch: eager or compiled, published or trimmed."""
    import torch
    from torch.nn import functional

    from vera_export.models.generator import Generator
    from vera_export.models.perceptual import Perceptual

    torch.set_num_threads(threads)
    data = {k: torch.from_numpy(v) for k, v in np.load(folder / "target.npz").items()}
    states = torch.load(folder / "networks.pt", weights_only=True)
    generator, perceptual = Generator().eval(), Perceptual().eval()
    generator.load_state_dict(states["generator"])
    perceptual.load_state_dict(states["perceptual"])
    trimmed = kind.endswith("trimmed")
    if trimmed:
        generator.requires_grad_(False)
        perceptual.requires_grad_(False)
    labels, coarse = data["labels"].long(), data["coarse"].long()
    unit = lambda x: x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)  # noqa: E731
    with torch.no_grad():
        cached = [unit(f) for f in perceptual(data["image"])]

    def loss(latent: torch.Tensor) -> torch.Tensor:
        image, segmentation, depth = generator(latent)
        wanted = cached if trimmed else [unit(f) for f in perceptual(data["image"])]
        pixel = (image - data["image"]).square().mean()
        distance = sum(
            ((unit(f) - w).square() * lin[:, None, None]).sum(1).mean()
            for f, w, lin in zip(perceptual(image), wanted, perceptual.lin, strict=True)
        )
        fine = functional.cross_entropy(segmentation, labels)
        rough = functional.cross_entropy(depth, coarse)
        return (
            WEIGHTS["pixel"] * pixel
            + WEIGHTS["perceptual"] * distance
            + WEIGHTS["segmentation"] * fine
            + WEIGHTS["coarse"] * rough
        )

    run = torch.compile(loss) if kind.startswith("compile") else loss
    latent = data["latent"].clone().requires_grad_(True)
    optimiser = torch.optim.Adam([latent], lr=RATE)

    def grad() -> np.ndarray:
        optimiser.zero_grad(set_to_none=True)
        run(latent).backward()
        assert latent.grad is not None
        return latent.grad.numpy().copy()

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        run(latent).backward()
        optimiser.step()

    return step, grad


def child(kind: str, folder: Path, threads: int, patience: float, cpu_time: bool) -> None:
    """One contender in its own process: writes its gradient, prints its time."""
    step, grad = ours(folder, threads) if kind == "ours" else torch_step(folder, threads, kind)
    first = grad()
    found = timing.measure(step, samples=9, patience_s=patience, cpu_time=cpu_time)
    np.save(folder / f"{kind}.npy", first)
    print(json.dumps({"best_s": found.best_s, "median_s": found.median_s, "quiet": found.quiet}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--patience", type=float, default=20.0, help="seconds per contender and round"
    )
    parser.add_argument("--only", nargs="*", default=CONTENDERS)
    parser.add_argument(
        "--folder", type=Path, help="prepared earlier; made in a temporary place if left out"
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="one thread, counted in seconds on a core: for a machine that is never quiet",
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        threads = 1 if arguments.cpu_time else arguments.threads
        child(arguments.child, arguments.folder, threads, arguments.patience, arguments.cpu_time)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        if not (folder / "networks.pt").exists():
            folder.mkdir(parents=True, exist_ok=True)
            prepare(folder)
        report(compete(arguments, folder), arguments)


def compete(arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Best seconds per step of each contender, after their gradients were found to agree."""
    best: dict[str, float] = {}
    threads = 1 if arguments.cpu_time else arguments.threads
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
    for _ in range(arguments.rounds):
        for kind in arguments.only:
            command = [sys.executable, __file__, "--child", kind, "--folder", str(folder)]
            command += ["--threads", str(arguments.threads), "--patience", str(arguments.patience)]
            command += ["--cpu-time"] * arguments.cpu_time
            done = subprocess.run(
                command, check=True, capture_output=True, text=True, env=environment
            )
            seconds = json.loads(done.stdout.splitlines()[-1])["best_s"]
            best[kind] = min(seconds, best.get(kind, seconds))
            wanted = np.load(folder / f"{arguments.only[0]}.npy")
            error = np.linalg.norm(np.load(folder / f"{kind}.npy") - wanted) / np.linalg.norm(
                wanted
            )
            assert error < AGREEMENT, f"{kind} and {arguments.only[0]} disagree: {error:.3g}"
            print(
                f"{kind:20s} {seconds * 1e3:8.1f} ms   gradient differs by {error:.1e}", flush=True
            )
    return best


def report(best: dict[str, float], arguments: argparse.Namespace) -> None:
    first = best[arguments.only[0]]
    for kind, seconds in best.items():
        print(f"{kind:20s} best {seconds * 1e3:8.1f} ms   {seconds / first:5.2f} x")
    print(json.dumps(timing.machine()))
    if arguments.out:
        record = {
            "machine": timing.machine(),
            "threads": 1 if arguments.cpu_time else arguments.threads,
            "milliseconds": {k: v * 1e3 for k, v in best.items()},
        }
        arguments.out.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
