"""What scenes are pasted from: people, people without faces, shoulders, things in front."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]  # [2, 3], crop pixels to scene pixels


@dataclass(frozen=True, slots=True)
class Crop:
    """One training face.

    Attributes:
        image: uint8 [256, 256, 3] RGB.
        labels: uint8 [256, 256] class map, 0 = background.
        mesh: float32 [468, 2] face-mesh points in pixels of the crop.
        five: float32 [5, 2] eyes, nose tip, mouth corners in pixels of the crop.
    """

    image: Image
    labels: Image
    mesh: Array
    five: Array


def without_face(crop: Crop, rng: np.random.Generator) -> Image:
    """The crop's image with its face gone: blank, turned away, or with its parts shuffled."""
    x1, y1 = crop.mesh.min(0)
    x2, y2 = crop.mesh.max(0)
    centre = (int((x1 + x2) / 2), int((y1 + y2) / 2))
    axes = (int((x2 - x1) * 0.5), int((y2 - y1) * 0.52))
    inside = np.zeros(crop.labels.shape, np.uint8)
    cv2.ellipse(inside, centre, axes, 0, 0, 360, 255, -1)
    weight = (cv2.GaussianBlur(inside, (0, 0), 5) / np.float32(255))[..., None]
    draw = rng.random()
    if draw < 0.4:  # skin without features
        tiny = cv2.resize(crop.image, (16, 16), interpolation=cv2.INTER_AREA)
        fill = cv2.resize(cv2.blur(tiny, (5, 5)), (256, 256))
    elif draw < 0.7:  # hair in front of the face: the back of a head
        hair = crop.labels == 7
        tone = crop.image[hair].mean(0) if hair.any() else np.zeros(3)
        noise = cv2.GaussianBlur(rng.normal(0, 60, (256, 64)).astype(np.float32), (0, 0), 1.5)
        fill = np.clip(tone + cv2.resize(noise, (256, 256))[..., None], 0, 255)
    else:  # features in the wrong places
        tiles = crop.image.reshape(8, 32, 8, 32, 3).transpose(0, 2, 1, 3, 4).reshape(64, 32, 32, 3)
        mixed = tiles[rng.permutation(64)].reshape(8, 8, 32, 32, 3).transpose(0, 2, 1, 3, 4)
        fill = cv2.blur(mixed.reshape(256, 256, 3), (3, 3))
    return np.asarray(crop.image * (1 - weight) + fill * weight, np.uint8)


def whole_mask(rng: np.random.Generator) -> Image:
    """A crop pasted with its own background, as a print or a neighbouring photograph would be."""
    mask = np.full((256, 256), 255, np.uint8)
    if rng.random() < 0.5:
        return mask
    cv2.rectangle(mask, (0, 0), (255, 255), 0, 3)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.8, 6))), np.uint8)


def shoulders(canvas: Image, matrix: Matrix, rng: np.random.Generator) -> Array:
    """Draw a clothed trunk below the crop's face; gives the opacity [h, w] that was used."""
    # Pixels of the 256-px crop, whose chin is near row 220.
    centre = (128, int(rng.uniform(330, 420)))
    axes = (int(rng.uniform(110, 200)), int(rng.uniform(90, 160)))
    outline = np.array(cv2.ellipse2Poly(centre, axes, 0, 180, 360, 12), np.float64)
    outline = np.vstack((outline, [[centre[0] + axes[0], 900], [centre[0] - axes[0], 900]]))
    mask = np.zeros(canvas.shape[:2], np.uint8)
    corners = np.rint(outline @ matrix[:, :2].T + matrix[:, 2]).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255)
    weave = rng.normal(0, rng.uniform(1, 14), (64, 64, 1)) + rng.uniform(0, 255, 3)
    cloth = cv2.resize(np.clip(weave, 0, 255).astype(np.uint8), canvas.shape[1::-1])
    cv2.copyTo(cloth, mask, canvas)
    return mask.astype(np.float32) * np.float32(1 / 255)


def warp_onto(
    canvas: Image,
    image: Image,
    alpha: Image,
    matrix: Matrix,
    *,
    around: bool,
    below: bool,
) -> Array:
    """Blend ``image`` into ``canvas`` in place; gives the opacity [h, w] that was used."""
    # The body may go on below the crop's last row; a whole crop may go on to all sides.
    opacity = np.zeros(canvas.shape[:2], np.float32)
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    border = cv2.BORDER_REPLICATE if around and scale > 0.9 else cv2.BORDER_CONSTANT
    while scale < 0.55:  # cv2.warpAffine does not average: halve first
        image, alpha = _halved(image), _halved(alpha)
        matrix = matrix @ np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])
        scale *= 2
    if below:
        h = image.shape[0]
        image = np.concatenate((image, image[-1:].repeat(h, 0)))
        alpha = np.concatenate((alpha, alpha[-1:].repeat(h, 0)))
    top, left, bottom, right = _reach(image, matrix, canvas, everywhere=border != 0)
    if bottom <= top or right <= left:
        return opacity
    matrix = matrix - np.array([[0, 0, left], [0, 0, top]])
    size, part = (right - left, bottom - top), (slice(top, bottom), slice(left, right))
    warped = cv2.warpAffine(
        image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    cover = cv2.warpAffine(alpha, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)
    opacity[part] = cv2.blur(cover, (3, 3)).astype(np.float32) * np.float32(1 / 255)
    canvas[part] = cv2.blendLinear(
        warped, np.ascontiguousarray(canvas[part]), opacity[part].copy(), 1 - opacity[part]
    )
    return opacity


def _halved(image: Image) -> Image:
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.asarray(half, np.uint8)


def _reach(
    image: Image, matrix: Matrix, canvas: Image, *, everywhere: bool
) -> tuple[int, int, int, int]:
    """Rows and columns of the canvas that the warped image touches: top, left, bottom, right."""
    h, w = canvas.shape[:2]
    if everywhere:
        return 0, 0, h, w
    rows, columns = image.shape[:2]
    corners = np.array([[0, 0], [columns, 0], [0, rows], [columns, rows]], np.float64)
    placed = corners @ matrix[:, :2].T + matrix[:, 2]
    low, high = np.floor(placed.min(0)).astype(int) - 2, np.ceil(placed.max(0)).astype(int) + 3
    return max(low[1], 0), max(low[0], 0), min(high[1], h), min(high[0], w)


def occlude(canvas: Image, box: Array, rng: np.random.Generator) -> float:
    """Cover a part of a face; gives the covered share of its box."""
    x1, y1, x2, y2 = box
    w, h = x2 - x1, y2 - y1
    mask = np.zeros(canvas.shape[:2], np.uint8)
    if rng.random() < 0.3:  # dark glasses
        y = int(y1 + 0.3 * h)
        for x in (x1 + 0.28 * w, x1 + 0.72 * w):
            axes = (max(1, int(0.2 * w)), max(1, int(0.13 * h)))
            cv2.ellipse(mask, (int(x), y), axes, 0, 0, 360, 255, -1)
        tone = rng.uniform(0, 60, 3)
    else:
        centre = (int(x1 + rng.uniform(0, 1) * w), int(y1 + rng.uniform(0, 1.1) * h))
        axes = (max(1, int(rng.uniform(0.1, 0.4) * w)), max(1, int(rng.uniform(0.1, 0.4) * h)))
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
        tone = rng.uniform(0, 255, 3)
    canvas[mask > 0] = np.clip(tone + rng.normal(0, 6, (int((mask > 0).sum()), 3)), 0, 255)
    return mean_in_box(mask.astype(np.float32) / np.float32(255), box)


def overlap(box: Array, other: Array) -> float:
    """Share of ``box`` that lies in ``other``."""
    low = np.maximum(box[:2], other[:2])
    high = np.minimum(box[2:], other[2:])
    area = float(np.prod(np.maximum(box[2:] - box[:2], 1e-6)))
    return float(np.prod(np.maximum(high - low, 0))) / area


def mean_in_box(opacity: Array, box: Array) -> float:
    """Mean of a map [h, w] over a box x1 y1 x2 y2."""
    h, w = opacity.shape
    x1, y1 = np.clip(np.floor(box[:2]).astype(int), 0, [w - 1, h - 1])
    x2, y2 = np.clip(np.ceil(box[2:]).astype(int), [x1 + 1, y1 + 1], [w, h])
    return float(opacity[y1:y2, x1:x2].mean())
