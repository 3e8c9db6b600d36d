"""Contact sheets of generated faces. Nothing but the generator's own output is ever drawn here."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vera import contract
from vera.engines import Engines, Tensor
from vera_export.evaluation.samples import exchanged, render
from vera_export.training.dataset import Faces

Bytes = npt.NDArray[np.uint8]

_TILE = 128
_CAPTION = 16
_EDITED_PARTS = ("eye", "brow", "nose", "mouth", "skin", "hair")
EDITS = ("sample", *contract.HIGH_LEVEL, *_EDITED_PARTS)


def grid(rows: Sequence[Sequence[Bytes]], captions: Sequence[str] = ()) -> Bytes:
    """Rows of images uint8 [s, s, 3] as one picture of 128 px tiles, with a caption per column."""
    tiles = [
        np.concatenate(
            [cv2.resize(x, (_TILE, _TILE), interpolation=cv2.INTER_AREA) for x in row], 1
        )
        for row in rows
    ]
    if captions:
        head = np.full((_CAPTION, tiles[0].shape[1], 3), 255, np.uint8)
        for column, text in enumerate(captions):
            place = (column * _TILE + 4, _CAPTION - 4)
            cv2.putText(head, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
        tiles.insert(0, head)
    return np.concatenate(tiles).astype(np.uint8, copy=False)


def sample_sheet(images: Bytes, columns: int = 6) -> Bytes:
    """Images [n, 256, 256, 3] in rows; what does not fill a row is left out."""
    rows = len(images) // columns
    return grid([list(images[r * columns : (r + 1) * columns]) for r in range(rows)])


def edit_sheet(latents: Tensor, others: dict[str, Tensor], engines: Engines) -> Bytes:
    """One person per row: as drawn, then with one code taken from another person.

    Args:
        latents: [n, 32, 64].
        others: Per column of ``EDITS`` but the first, the other people's latents [n, 32, 64].
        engines: Runs the generator.
    """
    columns = [render(latents, engines).images]
    for name in EDITS[1:]:
        columns.append(render(exchanged(latents, others[name], code_rows(name)), engines).images)
    return grid(list(zip(*columns, strict=True)), EDITS)


def code_rows(name: str) -> tuple[int, ...]:
    """Latent rows of a high-level code, or of shape and texture of a part."""
    if name in contract.HIGH_LEVEL:
        return (contract.high_level_row(name),)
    part = contract.CLASSES.index(name)
    return (contract.shape_row(part), contract.texture_row(part))


def striking_others(faces: Faces, rows: npt.NDArray[np.int64], pool: npt.NDArray[np.int64],
                    codes: Tensor, seed: int) -> dict[str, Tensor]:  # fmt: skip
    """Per edit, people of a pool whose attribute differs much: a code's effect is to be seen.

    Args:
        faces: The training domain.
        rows: Whom the edited samples took pose, expression and age from, n rows.
        pool: Rows of possible others.
        codes: The pool's latents [m, 32, 64].
        seed: Of the random choice where no attribute tells.
    """
    random = np.random.default_rng(seed)
    columns = {"expression": "p_happy", "pose": "yaw", "age": "age"}
    result = {}
    for name in EDITS[1:]:
        chosen = random.integers(len(pool), size=len(rows))
        if name in columns:
            values = faces.columns[columns[name]]
            chosen = np.abs(values[pool][None] - values[rows][:, None]).argmax(1)
        result[name] = codes[chosen]
    return result


def interpolation_sheet(latents: Tensor, ends: Tensor, engines: Engines, columns: int = 8) -> Bytes:
    """Straight lines between pairs of latents [n, 32, 64], one per row."""
    shares = np.linspace(0, 1, columns, dtype=np.float32)
    rows = [
        list(render((1 - shares)[:, None, None] * a + shares[:, None, None] * b, engines).images)
        for a, b in zip(latents, ends, strict=True)
    ]
    return grid(rows)


def write_picture(picture: Bytes, path: Path) -> None:
    """Writes RGB uint8 [h, w, 3]; the suffix of ``path`` says whether as PNG or JPEG."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, 90] if path.suffix == ".jpg" else []
    done, data = cv2.imencode(path.suffix, picture[:, :, ::-1], quality)
    if not done:
        raise OSError(f"{path.name} could not be encoded.")
    path.write_bytes(data.tobytes())
