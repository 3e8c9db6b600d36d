"""A face recogniser of the user's: any ONNX network from ArcFace's crop to an embedding."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from vera.contract import EMBEDDER_SIZE
from vera.errors import EngineError, UsageError
from vera.face.hiding import paint_over
from vera.gate.judge_card import RANGES, Card, model_hash, read_card
from vera.pixels import align

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Image = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]  # [5, 2]
Embedding = npt.NDArray[np.float32]  # [e], unit length

# Embeddings of two pictures of noise that differ by less, of their largest value, are the same.
_CONSTANT = 1e-6


@dataclass(frozen=True, slots=True)
class _Input:
    """The picture that a graph takes."""

    name: str
    size: int
    channels_last: bool


class Recogniser:
    """A recogniser in an ONNX file, tried when it is opened.

    Attributes:
        name: The card's, or the file's without its ending.
        sha256: First 12 digits of the hash of the file.
        values: Range of the graph's input, a key of :data:`vera.gate.judge_card.RANGES`.
        card: What the card beside the file says; empty if it is of another model.
    """

    def __init__(self, path: Path, *, values: str | None = None, threads: int = 1) -> None:
        """Opens a recogniser and tries it on two pictures of noise.

        Args:
            path: The ONNX file.
            values: Range of its input; None takes the card's, or the graph's metadata ``values``.
            threads: Threads of ONNX Runtime.

        Raises:
            UsageError: The file is missing, broken or no such network, or the range is not known.
        """
        path = Path(path)
        self.sha256 = model_hash(path)
        self.card: Card = read_card(path)
        self.name: str = self.card.name or path.stem
        self._session = _session(path, threads)
        told = self._session.get_modelmeta().custom_metadata_map.get("values")
        self.values = _range(path, values or self.card.values or told)
        self._input = _image_input(path, self._session)
        self._output = self._embedding_output(path)

    def embed(
        self, image: Image, points: Points, hidden: npt.NDArray[np.bool_] | None = None
    ) -> Embedding:
        """Embedding of the face with these five points.

        Args:
            image: uint8 [h, w, 3].
            points: float64 [5, 2]: image-left eye, image-right eye, nose tip, mouth corners.
            hidden: bool [h, w], pixels that are painted over with the mean colour of the others.

        Returns:
            float32 [e], unit length.

        Raises:
            EngineError: The network failed, or gave something that is no direction.
        """
        size = self._input.size
        matrix = align.crop_matrix(points, align.ARCFACE, size)
        crop = align.warp_to_crop(image, matrix, size)
        if hidden is not None:
            crop = paint_over(crop, hidden, matrix)
        try:
            vector = self._run(crop)[self._output][0].astype(np.float64)
        except Exception as error:  # ONNX Runtime raises types of its own, of no common base
            raise EngineError(
                f"The judge {self.name} failed on a face ({type(error).__name__}); try another "
                "model."
            ) from error
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length < 1e-6:
            raise EngineError(
                f"The judge {self.name} gave no usable embedding of a face; try another model."
            )
        return np.asarray(vector / length, np.float32)

    def _run(self, crop: Image) -> list[npt.NDArray[np.float32]]:
        low, high = RANGES[self.values]
        fed = crop[np.newaxis] * np.float32((high - low) / 255) + np.float32(low)
        if not self._input.channels_last:
            fed = np.ascontiguousarray(fed.transpose(0, 3, 1, 2))
        return list(self._session.run(None, {self._input.name: fed}))

    def _embedding_output(self, path: Path) -> int:
        """Number of the first output [1, e], after trying the network on noise."""
        random = np.random.default_rng(0)
        shape = (self._input.size, self._input.size, 3)
        noise = [random.integers(0, 256, shape, dtype=np.uint8) for _ in range(2)]
        try:
            first, second = (self._run(picture) for picture in noise)
        except Exception as error:  # as in `embed`
            fault = f"it fails on a single picture ({type(error).__name__})"
            raise _unfit(path, fault) from error
        for i, (one, other) in enumerate(zip(first, second, strict=True)):
            if one.dtype == np.float32 and one.ndim == 2 and one.shape[0] == 1 and one.size > 1:
                _check_probe(path, one, other)
                return i
        shapes = ", ".join(f"{output.dtype} {list(output.shape)}" for output in first)
        raise _unfit(path, f"an output must be an embedding float32 [1, e], got {shapes}")


def _session(path: Path, threads: int) -> "InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what fails comes as an exception; nothing is printed
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises types of its own, of no common base
        raise _unfit(path, f"ONNX Runtime cannot load it ({type(error).__name__})") from error


def _range(path: Path, values: str | None) -> str:
    if values is None:
        raise UsageError(
            f"The judge '{path}' does not tell the range of its input; give --judge-values (or "
            f"`values` in its card) as one of {', '.join(RANGES)}, as the network was trained."
        )
    if values not in RANGES:
        raise UsageError(
            f"The range of the judge '{path}' must be one of {', '.join(RANGES)}, got {values!r}; "
            "choose the one that the network was trained with."
        )
    return values


def _image_input(path: Path, session: "InferenceSession") -> _Input:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise _unfit(path, f"it must have one input, a picture, and has {len(inputs)}")
    shape, kind = inputs[0].shape, inputs[0].type
    if kind != "tensor(float)" or len(shape) != 4 or 3 not in (shape[1], shape[3]):
        wanted = "float32 [n, 3, s, s] or [n, s, s, 3]"
        raise _unfit(path, f"its input must be a picture {wanted}, got {kind} {shape}")
    channels_last = shape[1] != 3
    fixed = {s for s in (shape[1:3] if channels_last else shape[2:]) if isinstance(s, int)}
    if len(fixed) > 1:
        raise _unfit(path, f"its picture must be square, got {shape}")
    return _Input(inputs[0].name, fixed.pop() if fixed else EMBEDDER_SIZE, channels_last)


def _check_probe(path: Path, one: Embedding, other: Embedding) -> None:
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise _unfit(path, "its embedding of noise is not finite")
    if float(np.abs(one - other).max()) <= _CONSTANT * float(np.abs(one).max()):
        raise _unfit(path, "it gives the same embedding for different pictures")


def _unfit(path: Path, fault: str) -> UsageError:
    return UsageError(
        f"The judge '{path}' is no face recogniser that can be used here: {fault}; export it again "
        "or take another."
    )
