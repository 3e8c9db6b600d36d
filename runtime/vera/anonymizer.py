"""What a user holds: photographs of a case in, anonymised images and reports out."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt

from vera.bundle import Bundle, load_bundle
from vera.case.case import KeepLike, PhotoLike
from vera.case.local import LocalCases
from vera.case.request import CaseRequest, Progress, Result
from vera.errors import UsageError
from vera.files.photo import PIXEL_LIMIT
from vera.judge import Judge
from vera.key import CaseKey
from vera.scheduling.job import Job
from vera.settings import (
    PRESERVABLE,
    Background,
    Faces,
    Frame,
    Hair,
    Method,
    Settings,
    settings_of,
)

if TYPE_CHECKING:
    from vera.client.connection import Connection
    from vera.client.remote import RemoteCases

_QUEUE = 64

__all__ = ["Anonymizer", "PhotoLike", "Progress", "Result"]


class Anonymizer:
    """Replaces the faces of clinical photographs by synthetic ones.

    In this process, or on a server (``url``) with the same calls and results. May be used by
    several threads at once; ``workers`` cases are then in work and the others wait.
    """

    def __init__(
        self,
        bundle: Path | None = None,
        *,
        threads: int | None = None,
        device: Literal["cpu", "cuda"] = "cpu",
        judges: Sequence[Path | str | Judge] = (),
        workers: int = 1,
        queue: int | None = None,
        url: str | None = None,
        connection: "Connection | None" = None,
    ) -> None:
        """Opens a bundle, or a connection; engines are loaded when they are first used.

        Args:
            bundle: Folder of a bundle; None takes the one inside the package.
            threads: Cores that this anonymizer may use; None takes all of this process. The results
                do not depend on it.
            device: ``"cuda"`` needs an ONNX Runtime with CUDA.
            judges: Recognisers of your own, each of which must also take every output for another
                person: ONNX files with their cards beside them, or opened ones.
            workers: Cases in work at once. They share the engines and take their gradient steps
                together; as many as there are cores is enough on a CPU.
            queue: Cases that may wait for :meth:`submit`; None is 64.
            url: ``grpc://host:port`` or ``http://host:port`` (``grpcs``, ``https``) of a server;
                nothing of the above is then of use, except for ``bundle``: the server must have the
                same one.
            connection: How to reach the server, with its ``url``: deadlines, retries, TLS.

        Raises:
            BundleError: The bundle is missing, damaged or of another contract.
            EngineError: The device is not available.
            UsageError: An argument makes no sense.
        """
        self._cases: LocalCases | RemoteCases
        if url is not None or connection is not None:
            local = (threads, tuple(judges), queue)
            if local != (None, (), None) or workers != 1 or device != "cpu":
                raise UsageError(
                    "With a url the server decides on threads, device, judges, workers and queue; "
                    "leave them out."
                )
            self._cases = _remote(url, connection, bundle)
            return
        opened = tuple(j if isinstance(j, Judge) else Judge(Path(j)) for j in judges)
        self._cases = LocalCases(
            load_bundle(bundle),
            threads=threads,
            device=device,
            judges=opened,
            workers=workers,
            queue=_QUEUE if queue is None else queue,
        )

    @classmethod
    def over(cls, cases: "LocalCases | RemoteCases") -> Self:
        """An anonymizer over something that does cases already."""
        made = cls.__new__(cls)
        made._cases = cases
        return made

    def __enter__(self) -> Self:
        """Nothing to do."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends what is in work."""
        self.close(drain=kind is None)

    @property
    def bundle(self) -> Bundle:
        """The networks; of a server its name, version, digest and hashes alone."""
        return self._cases.bundle  # type: ignore[return-value]

    @property
    def cases(self) -> "LocalCases | RemoteCases":
        """Who does the cases."""
        return self._cases

    def close(self, *, drain: bool = True) -> None:
        """Takes no further cases and waits for those that wait or work.

        Args:
            drain: Whether they are done to their end, or cancelled.
        """
        self._cases.close(drain=drain)

    def anonymize(
        self,
        photos: Sequence[PhotoLike],
        *,
        keep: KeepLike | Sequence[KeepLike] = "none",
        seed: int | None = None,
        key: CaseKey | None = None,
        distinct_from: npt.NDArray[np.float32] | None = None,
        progress: Progress | None = None,
        faces: Faces = "all",
        steps: int | None = None,
        pixel_limit: int = PIXEL_LIMIT,
        frame: Frame = "photo",
        background: Background = "keep",
        hair: Hair = "keep",
        preserve: Sequence[str] = PRESERVABLE,
        keep_margin: str | None = None,
        variants: int = 1,
        separation: float | None = None,
        method: Method = "draw",
    ) -> list[Result]:
        """Anonymises one case: photographs of one person, who gets one new identity in all of them.

        Args:
            photos: Files, the bytes of files, or images uint8 [h, w, 3] RGB. The largest face of
                each is the person.
            keep: What stays as photographed: ``"none"``, ``"mouth"``, ``"eyes,brows"``, a polygon
                (text, or points [p, 2]), a mask file (Path, or the text of an existing path) or a
                bool mask [h, w] of the photo's size; docs/regions.md. One value for all
                photographs, or a list with one for each.
            seed: Seed of all draws, 0 to 2^63 - 1; None takes a new random one. It is in the
                report.
            key: Draws the new identity in the seed's place: the same one for this patient in every
                call with the same bundle and settings, as far as the gate lets it through.
            distinct_from: float32 [m, e], the ``person`` of other results; none of them comes out.
            progress: Called with the name of the stage and the done fraction in [0, 1], never
                decreasing.
            faces: See :class:`vera.settings.Settings` for this and all further ones.
            steps: Upper limit of gradient steps of the inversion.
            pixel_limit: Largest number of pixels of a photograph.
            frame: ``"photo"`` or ``"crop"``.
            background: ``"keep"``, ``"blur"`` or ``"regenerate"``.
            hair: ``"keep"`` or ``"regenerate"``.
            preserve: Out of ``"expression"``, ``"age"``, ``"skin-tone"``.
            keep_margin: ``"3px"`` or ``"1.5mm"``.
            variants: How many new identities each photograph gets.
            separation: Largest cosine between variants and to ``distinct_from``.
            method: ``"draw"`` or ``"margin"``.

        Returns:
            One result per photograph, in order; with several variants all photographs of the first
            variant, then all of the second. A photograph that cannot be read or must not be written
            is a refused result without an image.

        Raises:
            UsageError: The request makes no sense.
            EngineError: An engine failed.
            ServerError: With ``url``: the server cannot be reached or broke off.
            BusyError: With ``url``: the server's queue is full.
            DeadlineError: With ``url``: the connection's deadline is over.
        """
        settings = Settings(
            faces=faces,
            steps=steps,
            pixel_limit=pixel_limit,
            frame=frame,
            background=background,
            hair=hair,
            preserve=tuple(preserve),
            keep_margin=keep_margin,
            variants=variants,
            separation=separation,
            method=method,
        )
        request = CaseRequest(photos, keep, seed, key, distinct_from, settings)
        return self._cases.run(request, progress or _silent)

    def submit(
        self,
        photos: Sequence[PhotoLike],
        *,
        keep: KeepLike | Sequence[KeepLike] = "none",
        seed: int | None = None,
        key: CaseKey | None = None,
        distinct_from: npt.NDArray[np.float32] | None = None,
        progress: Progress | None = None,
        deadline: float | None = None,
        **settings: Any,
    ) -> Job[list[Result]]:
        """Hands a case in, to be done when a worker is free.

        Args:
            photos: As of :meth:`anonymize`, and so for all that is not named here.
            keep: See there.
            seed: See there.
            key: See there.
            distinct_from: See there.
            progress: Called in the worker's thread.
            deadline: Seconds from now until it must have ended, waiting included.
            **settings: The fields of :class:`vera.settings.Settings`.

        Returns:
            The result to come, which can be cancelled.

        Raises:
            BusyError: The queue is full; nothing was begun.
            UsageError: A setting makes no sense. What else is wrong the job's result tells.
        """
        asked = settings_of(settings)
        request = CaseRequest(photos, keep, seed, key, distinct_from, asked)
        return self._cases.submit(request, progress or _silent, deadline)


def _remote(url: str | None, connection: "Connection | None", bundle: Path | None) -> "RemoteCases":
    from dataclasses import replace

    from vera.client.connection import Connection
    from vera.client.remote import RemoteCases

    if connection is None:
        connection = Connection(url or "")
    elif url is not None:
        connection = replace(connection, url=url)
    return RemoteCases(connection, None if bundle is None else load_bundle(bundle).digest)


def _silent(stage: str, fraction: float) -> None:
    """Progress that nobody asked for."""
