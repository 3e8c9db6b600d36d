"""The deep check of a server: every engine once, and a tiny inversion that comes out as ever."""

from dataclasses import replace
from time import monotonic

import numpy as np

from vera.bundle import Bundle
from vera.check import Row, check
from vera.engines import Engines
from vera.errors import VeraError
from vera.face.detect import Face
from vera.face.faces import align_face
from vera.identity.inversion import InversionConfig, invert
from vera.pixels.align import FFHQ, to_image

_STEPS = 2

# Another order of sums after a driver or a library changed under a running server is no fault; a
# broken network or memory is far off.
_TOLERANCE = 1e-3

# Checks take cores from the cases and nobody pays for them with a slot: however often they are
# asked for, one in this many seconds is done.
FRESH_S = 10.0

# Says where things lie on the server, which is none of a client's business.
_PRIVATE = frozenset({"bundle folder"})


class Health:
    """Checks the engines that the cases use, beside the cases: no slot and no queue."""

    def __init__(self, bundle: Bundle, engines: Engines, *, fresh_s: float = FRESH_S) -> None:
        """Measures the loss that later checks are compared with; this warms the engines up, too.

        Args:
            bundle: Of the cases.
            engines: Those of the cases.
            fresh_s: Seconds for which the result of a check is told again.

        Raises:
            VeraError: An engine does not work.
        """
        self._bundle, self._engines = bundle, engines
        self._fresh_s = fresh_s
        self._last: tuple[float, tuple[Row, ...]] | None = None
        self.loss = self._inverted()

    def rows(self) -> tuple[Row, ...]:
        """What ``vera check`` shows, of this server; of a moment ago, if it was just asked for.

        For one thread at a time; the service has one.
        """
        if self._last is None or monotonic() - self._last[0] >= self._fresh_s:
            rows = self._checked()
            self._last = monotonic(), rows
        return self._last[1]

    def _checked(self) -> tuple[Row, ...]:
        found = check(self._bundle.folder, open_engines=lambda _: self._engines)
        rows = [row for row in found if row.name not in _PRIVATE]
        # Sentences of what failed may name files, too.
        folder = str(self._bundle.folder)
        return tuple(
            replace(row, value=row.value.replace(folder, "the bundle's folder"))
            for row in (*rows, self._inversion())
        )

    def _inversion(self) -> Row:
        try:
            loss = self._inverted()
        except VeraError as error:
            return Row("inversion", str(error), ok=False)
        if abs(loss - self.loss) <= _TOLERANCE * abs(self.loss):
            return Row("inversion", f"loss {loss:.5f} after {_STEPS} steps, as at the start")
        return Row(
            "inversion",
            f"The loss after {_STEPS} steps is {loss:.5f}, at the start it was {self.loss:.5f}; "
            "restart the server, then check its memory and its GPU.",
            ok=False,
        )

    def _inverted(self) -> float:
        """Loss of a synthetic person after few steps: a full path through nearly every engine."""
        engines, bundle = self._engines, self._bundle
        side = engines.layout.image
        picture = engines.run("generator", latent=bundle.identities.mean[None])["image"]
        points = (FFHQ.points + 0.5) * side / FFHQ.size - 0.5
        box = np.array([0.0, 0.0, side, side])
        face = align_face(to_image(picture), Face(box, points, 1.0), engines)
        config = replace(InversionConfig.suited(bundle), steps=_STEPS)
        found = invert([face], [(side, side)], engines, bundle, config, _ignore)
        return found.report.loss_after


def _ignore(done: float) -> None:
    """Progress that nobody waits for."""
