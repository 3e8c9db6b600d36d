"""Gradient steps of several cases on a CPU: one thread a face, as many faces at once as lanes.

A CPU gains nothing from a batch dimension: its convolutions are done image by image anyway.
Measured on two cores, a step of one face takes 52 ms on two threads and 76 ms on one; two faces in
one batch take 102 ms on two threads, and 76 ms in two lanes of one thread. Lanes give the same bits
as a lone run, and a case may join or leave at any step.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from vera.engines import Engines, Tensor
from vera.identity.objective import Lane, Losses, joined
from vera.identity.target import Target


class Lanes:
    """An evaluator for any number of cases at once; they take turns step by step."""

    def __init__(self, engines: Engines, count: int, shared: Callable[[], bool]) -> None:
        """Lanes are opened when they are first needed.

        Args:
            engines: Makes the gradients.
            count: How many faces at once: the cores that may be used.
            shared: Whether several cases are in work now. A face alone gets all threads.
        """
        self._engines, self._count, self._shared = engines, count, shared
        self._own = threading.local()
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="vera-lane")
        self._wide: Lane | None = None
        self._wide_free = threading.Lock()

    def evaluate(
        self, targets: Sequence[Target], latents: Tensor, *, with_gradient: bool
    ) -> tuple[Losses, Tensor]:
        """See :class:`vera.identity.objective.Evaluator`."""
        single = self._count == 1 or len(targets) == 1
        if single and not self._shared() and self._wide_free.acquire(blocking=False):
            try:
                return self._alone(targets, latents, with_gradient)
            finally:
                self._wide_free.release()
        futures = [
            self._pool.submit(self._step, target, latents[i : i + 1], with_gradient)
            for i, target in enumerate(targets)
        ]
        wait(futures)  # all of them, before an error of one lets the caller reuse the latents
        try:
            done = list(map(Future.result, futures))
        finally:
            del futures  # an error holds this frame; the frame must not hold the error's own future
        return joined(done, latents)

    def close(self) -> None:
        """Ends the threads; no case may be in work."""
        self._pool.shutdown()

    def _alone(
        self, targets: Sequence[Target], latents: Tensor, with_gradient: bool
    ) -> tuple[Losses, Tensor]:
        if self._wide is None:
            self._wide = Lane(self._engines.gradient(), threads=self._count)
        lane = self._wide
        done = [
            lane.evaluate(target, latents[i : i + 1], with_gradient=with_gradient)
            for i, target in enumerate(targets)
        ]
        return joined(done, latents)

    def _step(
        self, target: Target, latent: Tensor, with_gradient: bool
    ) -> tuple[float, Tensor | None]:
        lane: Lane | None = getattr(self._own, "lane", None)
        if lane is None:
            lane = self._own.lane = Lane(self._engines.gradient(threads=1), threads=1)
        return lane.evaluate(target, latent, with_gradient=with_gradient)
