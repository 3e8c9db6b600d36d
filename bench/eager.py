"""The whole pipeline on eager PyTorch, with the same weights: a baseline of ``vera bench``.

All networks of a case run in torch; the gradient of the inversion comes from autograd. Everything
that is no network is VerA's own, the loss of the inversion included, which in torch would cost more
again (bench/inversion_loss.py). It runs in a process of its own, because torch's thread pool slows
onnxruntime down inside one process, and does one case at a time.
"""

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vera.benchmark.target import Answer, Query, answer_of

Tensor = npt.NDArray[np.float32]

WEIGHTS = Path(__file__).parents[1] / "weights"


class EagerTarget:
    """A process with the eager pipeline."""

    name = "eager"
    # torch's convolutions round otherwise, an inversion carries that on from step to step, and two
    # people that are nearly as fit may change places: of five photographs three came out equal to
    # the eye, two as another person, while the final losses differed by 0.1 to 2.1 %.
    tolerance = 0.05
    slots = 1

    def __init__(self, bundle: Path, threads: int | None, weights: Path = WEIGHTS) -> None:
        """Starts the process; ``bundle`` has the people and the gate, ``weights`` the networks."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, bundle, threads, weights)
        self._process = context.Process(target=serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self._line = ThreadPoolExecutor(1)

    def prepare(self, clients: int) -> None:
        """Nothing to do: clients take turns."""

    def ask(self, query: Query, *, images: bool = False) -> Answer:
        """One query; others wait, in the order in which they came."""
        return self._line.submit(self._ask, query, images).result()

    def _ask(self, query: Query, images: bool) -> Answer:
        self._pipe.send((query, images))
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Ends the process; what waits is given up."""
        self._line.shutdown(cancel_futures=True)
        self._pipe.close()
        self._process.join()


def serve(pipe: Connection, bundle: Path, threads: int | None, weights: Path) -> None:
    """The process: answers queries until the pipe is closed."""
    from vera.bundle import load_bundle
    from vera.case.case import open_case
    from vera.case.pipeline import anonymize_case
    from vera.case.request import Result
    from vera.settings import Settings

    opened = load_bundle(bundle)
    engines = EagerEngines(weights, threads)
    while True:
        try:
            query, images = pipe.recv()
        except EOFError:
            return
        try:
            settings = Settings(**query.options)
            case = open_case(query.photos, keep=query.keep, seed=query.seed, settings=settings)
            done = anonymize_case(case, engines, opened, lambda stage, fraction: None)
            results = [Result(one.image, one.report, one.person) for one in done]
            pipe.send(answer_of(results, (None, None), images=images))
        except Exception as error:
            pipe.send(error)


class EagerEngines:
    """The networks of a folder of weights as the engines of the contract, in torch."""

    def __init__(self, weights: Path, threads: int | None) -> None:
        """Loads the networks and rounds their weights as a bundle's are."""
        import torch

        from vera import contract
        from vera_export.bundle import bundle_layout
        from vera_export.registry import load_networks
        from vera_export.storage import round_weights
        from vera_export.to_onnx import generator_function

        if threads is not None:
            torch.set_num_threads(threads)
        networks = load_networks(weights)
        for network in networks.values():
            round_weights(network.eval().requires_grad_(False))
        self.layout = bundle_layout(networks)
        self._specs = contract.engines(self.layout)
        generator = networks["generator"]
        self._sources: dict[str, Any] = {**networks, "generator": lambda w: generator(w)[:2]}
        self._ahead = generator_function(generator, networks["perceptual"])

    def run(self, name: str, **inputs: Tensor) -> dict[str, Tensor]:
        """Outputs of a network, without a gradient."""
        import torch

        spec = self._specs[name]
        with torch.inference_mode():
            given = (torch.from_numpy(np.ascontiguousarray(inputs[t.name])) for t in spec.inputs)
            outputs = self._sources[name](*given)
        outputs = (outputs,) if isinstance(outputs, torch.Tensor) else outputs
        return {t.name: o.numpy() for t, o in zip(spec.outputs, outputs, strict=True)}

    def gradient(self, *, batch: int = 1, threads: int | None = None) -> "EagerGradient":
        """The generator with autograd."""
        names = [tensor.name for tensor in self._specs["generator_forward"].outputs]
        return EagerGradient(self._ahead, names)


class EagerGradient:
    """The generator, and its gradient by autograd."""

    def __init__(self, ahead: Any, names: list[str]) -> None:
        self._ahead, self._names = ahead, names
        self.outputs: dict[str, Tensor] = {}

    def forward(self, latent: Tensor) -> None:
        """Renders latents [1, 32, d] into ``outputs``."""
        import torch

        self._latent = torch.from_numpy(latent.copy()).requires_grad_(True)
        self._found = dict(zip(self._names, self._ahead(self._latent), strict=True))
        self.outputs = {
            name: np.ascontiguousarray(value.detach().numpy())
            for name, value in self._found.items()
        }

    def backward(self, grads: Mapping[str, Tensor]) -> Tensor:
        """Gradient [1, 32, d] of the last ``forward``."""
        import torch

        known = {name: grads[f"grad_{name}"] for name in self._names if f"grad_{name}" in grads}
        (found,) = torch.autograd.grad(
            [self._found[name] for name in known],
            self._latent,
            [torch.from_numpy(value) for value in known.values()],
        )
        return found.numpy()
