"""The training loop of the crop networks: a schedule on the clock, and atomic checkpoints."""

import copy
import json
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vera_export.models.convolution import fold, read_weights

M = TypeVar("M", bound=nn.Module)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """Learning rate over wall-clock time: warm-up, then half a cosine down to a hundredth.

    Attributes:
        minutes: Length of the run; the rate reaches its end when the time is up.
        peak: Largest learning rate of Adam.
        warmup_steps: Steps of linear rise.
        checkpoint_s: Seconds between checkpoints.
        decay: Decoupled weight decay of AdamW.
        max_steps: Upper limit of steps, for tests.
    """

    minutes: float
    peak: float
    warmup_steps: int = 50
    checkpoint_s: float = 150.0
    decay: float = 1e-4
    max_steps: int | None = None

    def rate(self, step: int, elapsed_s: float) -> float:
        """Learning rate at ``step``, ``elapsed_s`` seconds after the start."""
        done = min(1.0, elapsed_s / (60 * self.minutes))
        cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2
        return self.peak * cosine * min(1.0, (step + 1) / self.warmup_steps)


@dataclass(frozen=True)
class Progress:
    """Where a run stands: steps, seconds, and running means of the named losses."""

    steps: int
    seconds: float
    losses: dict[str, float]


def optimise(
    parameters: Iterable[nn.Parameter],
    losses_of_step: Callable[[], dict[str, Tensor]],
    schedule: Schedule,
    save: Callable[[Progress], object],
    after_step: Callable[[], None] | None = None,
) -> Progress:
    """Minimise ``losses_of_step()["loss"]`` until the time is up; calls ``save`` now and then.

    Args:
        parameters: What AdamW changes.
        losses_of_step: Draws a batch and returns its losses; ``loss`` is the one minimised.
        schedule: Length and learning rate.
        save: Called every ``checkpoint_s`` seconds, but not at the end.
        after_step: Called after each change, for constraints on the parameters.

    Returns:
        The final state.
    """
    trained = list(parameters)
    optimiser = torch.optim.AdamW(trained, schedule.peak, (0.9, 0.98), weight_decay=schedule.decay)
    means: dict[str, float] = {}
    start = saved = time.monotonic()
    step = 0
    while (now := time.monotonic()) - start < 60 * schedule.minutes and step != schedule.max_steps:
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(step, now - start)
        losses = losses_of_step()
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward([losses["loss"]])
        nn.utils.clip_grad_norm_(trained, 5.0)
        optimiser.step()
        if after_step is not None:
            after_step()
        step += 1
        for name, value in losses.items():
            now_value = float(value.detach())
            means[name] = now_value + 0.98 * (means.get(name, now_value) - now_value)
        if step % 50 == 0:
            log.info("step %d, %.0f s: %s", step, now - start, _format(means))
        if now - saved > schedule.checkpoint_s:
            saved = now
            save(Progress(step, now - start, dict(means)))
    return Progress(step, time.monotonic() - start, dict(means))


def _format(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in values.items())


def write_weights(
    path: Path, tensors: dict[str, Tensor], config: dict[str, Any], record: dict[str, Any] | None
) -> None:
    """Write a safetensors file with ``config`` in its header, and ``record`` as JSON beside it.

    Each file appears complete or not at all: it is written under another name, then renamed.
    """
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    whole = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    save_file(whole, part, metadata={"config": json.dumps(config)})
    part.chmod(0o644)  # safetensors makes it private
    part.replace(path)
    if record is not None:
        part = path.with_name(path.stem + ".json.part")
        part.write_text(json.dumps(record, indent=1) + "\n")
        part.replace(path.with_suffix(".json"))


@dataclass(frozen=True)
class Run:
    """What does not change during a run, and where its results go.

    Attributes:
        name: Network, and stem of the files.
        out: Folder of the files.
        config: Configuration of the network, for inference.
        recipe: Configuration of the training.
        data: What was trained on, without paths.
        seed: Of all draws.
        resumed: Whether the run started from weights of another.
    """

    name: str
    out: Path
    config: dict[str, Any]
    recipe: dict[str, Any]
    data: dict[str, Any]
    seed: int
    resumed: bool

    def save(self, model: nn.Module, progress: Progress, metrics: dict[str, Any]) -> dict[str, Any]:
        """Write ``<name>.safetensors`` without batch norms and ``<name>.json``.

        ``<name>.training.safetensors`` holds the weights with the norms, for a resume.

        Returns:
            The record, as written.
        """
        log.info("held out: %s", metrics)
        record = {
            "name": self.name,
            "config": self.config,
            "recipe": self.recipe,
            "data": self.data,
            "seed": self.seed,
            "resumed": self.resumed,
            "steps": progress.steps,
            "seconds": round(progress.seconds, 1),
            "losses": progress.losses,
            "metrics": metrics,
        }
        unfolded = self.out / f"{self.name}.training.safetensors"
        write_weights(unfolded, model.state_dict(), self.config, None)
        folded = fold(copy.deepcopy(model)).state_dict()
        write_weights(self.out / f"{self.name}.safetensors", folded, self.config, record)
        model.train()
        return record


def load_training(model: M, resume: Path | None) -> M:
    """``model`` in the memory layout for training, with the unfolded weights of ``resume``."""
    if resume is not None:
        model.load_state_dict(read_weights(resume)[1], strict=True)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
