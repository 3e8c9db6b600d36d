"""Gradient steps of several cases on a GPU: all faces that wait go through as one batch.

Sizes are fixed, so that buffers, CUDA graphs and TensorRT profiles stay the same; what is missing
to the next size is filled with repetitions. A face's result depends on its batch in the last bits,
by another order of sums: 4e-7 of the largest gradient on a CPU.
"""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from vera.engines import Engines, Gradient, Tensor
from vera.identity.objective import Losses, joined
from vera.identity.target import Target
from vera.ops.inversion_loss import LossBuffers, buffers_for, inversion_loss
from vera.scheduling.job import closing, forget_frames

SIZES = (1, 2, 4, 8)

_Told = tuple[float, Tensor | None]  # loss and gradient


@dataclass(slots=True, eq=False)
class _Face:
    """One face that waits for its step."""

    target: Target
    latent: Tensor
    with_gradient: bool
    done: "Future[_Told]" = field(default_factory=Future)


class Batches:
    """An evaluator for any number of cases at once, with one thread that makes the steps."""

    def __init__(self, engines: Engines, *, largest: int = SIZES[-1]) -> None:
        """Engines are bound when a size is first needed.

        Args:
            engines: Makes the gradients.
            largest: Faces of one step; out of :data:`SIZES`.
        """
        self._engines, self._sizes = engines, tuple(size for size in SIZES if size <= largest)
        self._bound: dict[int, _Batch] = {}
        self._waiting: deque[_Face] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def evaluate(
        self, targets: Sequence[Target], latents: Tensor, *, with_gradient: bool
    ) -> tuple[Losses, Tensor]:
        """See :class:`vera.identity.objective.Evaluator`."""
        faces = [_Face(target, latents[i], with_gradient) for i, target in enumerate(targets)]
        with self._changed:
            if self._closing:
                raise closing()
            self._waiting.extend(faces)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="vera-steps", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        wait([face.done for face in faces])  # before an error lets the caller reuse the latents
        try:
            told = list(map(_told, faces))
        finally:
            del faces  # an error holds this frame; the frame must not hold the error's own face
        return joined(told, latents)

    def close(self) -> None:
        """Ends the thread; no case may be in work."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while self._turn():
            pass

    def _turn(self) -> bool:
        """One step, in a frame of its own: no face may stay in one that waits for the next."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if not self._waiting:
                return False
            count = min(len(self._waiting), self._sizes[-1])
            faces = [self._waiting.popleft() for _ in range(count)]
        told: Sequence[_Told | Exception] = ()
        with suppress(Exception):
            told = self._step(faces)
        if not told:  # one of them failed: which?
            told = list(map(self._alone, faces))
        for face, one in zip(faces, told, strict=True):
            if isinstance(one, Exception):
                face.done.set_exception(one)
            else:
                face.done.set_result(one)
        del faces, told, face, one  # the error of a face holds the frames that it came from
        return True

    def _alone(self, face: _Face) -> _Told | Exception:
        """The step of a face, or the error that is its own."""
        try:
            return self._step([face])[0]
        except Exception as error:
            forget_frames(error)
            return error
        finally:
            del face  # the error holds this frame, and is the face's

    def _step(self, faces: Sequence[_Face]) -> list[_Told]:
        size = next(size for size in self._sizes if size >= len(faces))
        if size not in self._bound:
            self._bound[size] = _Batch(self._engines.gradient(batch=size), faces[0].target, size)
        return self._bound[size].step(faces)


def _told(face: _Face) -> _Told:
    try:
        return face.done.result()
    finally:
        del face  # as above


class _Batch:
    """A gradient of a fixed number of faces, with a view of its arrays for each of them."""

    def __init__(self, gradient: Gradient, like: Target, size: int) -> None:
        self._gradient, self._size = gradient, size
        one = buffers_for(like.constants)
        self._gradients: Mapping[str, Tensor] = {
            name: np.zeros((size, *array.shape[1:]), np.float32)
            for name, array in one.gradients.items()
        }
        self._views = [
            LossBuffers(
                {name: array[i : i + 1] for name, array in self._gradients.items()},
                one.values,
                one.partials,
            )
            for i in range(size)
        ]

    def step(self, faces: Sequence[_Face]) -> list[_Told]:
        """Loss and gradient of as many faces as fit."""
        padded = [*faces, *[faces[-1]] * (self._size - len(faces))]
        self._gradient.forward(np.ascontiguousarray([face.latent for face in padded], np.float32))
        outputs = self._gradient.outputs
        losses = []
        for i, face in enumerate(faces):
            own = {name: array[i : i + 1] for name, array in outputs.items()}
            values = inversion_loss(own, face.target.constants, self._views[i])
            losses.append(float(values.sum()))
        if not any(face.with_gradient for face in faces):
            return [(loss, None) for loss in losses]
        grads = self._gradient.backward(self._gradients)
        return [
            (loss, grads[i].copy() if face.with_gradient else None)
            for i, (loss, face) in enumerate(zip(losses, faces, strict=True))
        ]
