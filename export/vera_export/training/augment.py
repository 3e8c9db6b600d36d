"""Random changes of training images: light, colour, blur, noise, occlusion, background, shape.

All functions take and return uint8 [h, w, 3] RGB unless they say otherwise, and draw from the given
generator only.
"""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]
Draw = np.random.Generator

IGNORED = 255  # label of a pixel that no loss counts


def smooth_field(draw: Draw, size: int, cells: int) -> Float:
    """Random field [size, size] of roughly zero mean and unit spread, ``cells`` bumps per side."""
    coarse = draw.standard_normal((cells + 1, cells + 1)).astype(np.float32)
    field = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(field, np.float32)


def light_and_colour(image: Bytes, draw: Draw, strength: float = 1.0) -> Bytes:
    """Exposure, contrast, white balance, saturation, and light that changes over the image."""
    x = image.astype(np.float32) / 255
    s = strength
    x = np.power(x, np.float32(np.exp(draw.normal(0, 0.3 * s))))
    gains = np.exp(draw.normal(0, 0.08 * s, 3)).astype(np.float32)
    grey = x @ np.array([0.299, 0.587, 0.114], np.float32)
    colourless = draw.random() < 0.06 * s
    saturation = np.float32(0 if colourless else max(0.0, 1 + draw.normal(0, 0.3 * s)))
    x = (grey[..., None] + saturation * (x - grey[..., None])) * gains
    if draw.random() < 0.5 * s:
        field = smooth_field(draw, image.shape[0], int(draw.integers(1, 4)))
        x *= np.exp(field * draw.uniform(0.1, 0.45))[..., None].astype(np.float32)
    contrast, brightness = np.exp(draw.normal(0, 0.2 * s)), draw.normal(0, 0.07 * s)
    x = (x - 0.5) * np.float32(contrast) + np.float32(0.5 + brightness)
    return to_bytes(x * 255)


def blur(image: Bytes, draw: Draw, largest: float = 2.0) -> Bytes:
    """Gaussian or straight motion blur; ``largest`` is the Gaussian's deviation in pixels."""
    if draw.random() < 0.7:
        return _bytes(cv2.GaussianBlur(image, (0, 0), draw.uniform(0.3, largest)))
    length = int(draw.integers(3, 4 + int(3 * largest)))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1 / length
    centre = ((length - 1) / 2, (length - 1) / 2)
    turn = cv2.getRotationMatrix2D(centre, draw.uniform(0, 180), 1.0)
    kernel = cv2.warpAffine(kernel, turn, (length, length)).astype(np.float32)
    return _bytes(cv2.filter2D(image, -1, kernel / max(float(kernel.sum()), 1e-3)))


def low_resolution(image: Bytes, draw: Draw, largest: float = 4.0) -> Bytes:
    """Reduced and enlarged again by a factor up to ``largest``."""
    h, w = image.shape[:2]
    factor = draw.uniform(1.2, largest)
    small = cv2.resize(image, (int(w / factor), int(h / factor)), interpolation=cv2.INTER_AREA)
    return _bytes(cv2.resize(small, (w, h), interpolation=int(draw.choice([1, 2]))))


def noise(image: Bytes, draw: Draw, largest: float = 14.0) -> Bytes:
    """Gaussian noise with a deviation up to ``largest`` grey levels."""
    spread = draw.uniform(1, largest)
    grain = draw.standard_normal(image.shape, np.float32) * np.float32(spread)
    return to_bytes(image.astype(np.float32) + grain)


def jpeg(image: Bytes, draw: Draw) -> Bytes:
    """Encoded as JPEG at a quality of 25 to 90 and decoded."""
    quality = int(draw.integers(25, 91))
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return _bytes(cv2.imdecode(data, cv2.IMREAD_COLOR))


def degrade(image: Bytes, draw: Draw, chance: float = 0.25) -> Bytes:
    """Each of blur, low resolution, noise and JPEG with probability ``chance``."""
    changes: tuple[Callable[[Bytes, Draw], Bytes], ...] = (blur, low_resolution, noise, jpeg)
    for change in changes:
        if draw.random() < chance:
            image = change(image, draw)
    return image


def occluder(draw: Draw, size: int) -> npt.NDArray[np.bool_]:
    """A random ellipse, bar or polygon [size, size], True where it covers."""
    mask = np.zeros((size, size), np.uint8)
    centre = draw.uniform(0.1, 0.9, 2) * size
    kind = draw.integers(3)
    if kind == 0:
        axes = draw.uniform(0.05, 0.25, 2) * size
        box = (_pair(centre), _pair(2 * axes), float(draw.uniform(0, 180)))
        cv2.ellipse(mask, box, 1, -1)
    elif kind == 1:
        other = centre + draw.normal(0, 0.5, 2) * size
        start, end = (tuple(int(v) for v in p) for p in (centre, other))
        cv2.line(mask, start, end, 1, int(draw.uniform(0.02, 0.12) * size))
    else:
        around = np.sort(draw.uniform(0, 2 * np.pi, 6))
        radius = draw.uniform(0.05, 0.25, 6) * size
        ring = centre + np.stack([np.cos(around), np.sin(around)], 1) * radius[:, None]
        cv2.fillPoly(mask, [ring.astype(np.int32)], 1)
    return mask.astype(bool)


def texture(draw: Draw, size: int, others: Bytes) -> Bytes:
    """A background [size, size, 3]: plain, ramps, shapes, or a zoom into another image."""
    kind = draw.random()
    base = draw.uniform(0, 255, 3).astype(np.float32)
    if kind < 0.25:
        source = others[draw.integers(len(others))]
        side = int(draw.integers(size // 6, size // 2))
        top, left = draw.integers(0, source.shape[0] - side, 2)
        patch = source[top : top + side, left : left + side]
        turned = np.rot90(patch, int(draw.integers(4)))
        out = cv2.resize(np.ascontiguousarray(turned), (size, size), interpolation=cv2.INTER_LINEAR)
        return _bytes(out)
    x = np.broadcast_to(base, (size, size, 3)).astype(np.float32)
    if kind < 0.8:
        for cells in (1, 3, 9, 40):
            field = smooth_field(draw, size, cells)
            tint = draw.normal(0, 1, 3).astype(np.float32) + np.float32(draw.normal())
            x = x + np.asarray(field[..., None] * tint * draw.exponential(14), np.float32)
    out = to_bytes(x)
    if kind > 0.5:
        for _ in range(int(draw.integers(1, 14))):
            out[occluder(draw, size)] = draw.integers(0, 256, 3)
        out = blur(out, draw, 5.0)
    return out


def replace_background(image: Bytes, person: Float, behind: Bytes) -> Bytes:
    """Compose ``image`` over ``behind`` by ``person`` [h, w] in [0, 1], softened at the edge."""
    alpha = cv2.GaussianBlur(person, (0, 0), 1.0).astype(np.float32)[..., None]
    return to_bytes(alpha * image + (1 - alpha) * behind)


def similarity(
    centre: tuple[float, float], degrees: float, scale: float, shift: tuple[float, float]
) -> Matrix:
    """2x3 matrix that turns and scales about ``centre`` (x, y), then shifts.

    Positive degrees turn clockwise as seen on the screen (y points down).
    """
    turn = np.deg2rad(degrees)
    a, b = scale * np.cos(turn), scale * np.sin(turn)
    rotation = np.array([[a, -b], [b, a]])
    middle = np.array(centre)
    return np.hstack([rotation, (middle + np.array(shift) - rotation @ middle)[:, None]])


def move_points(points: Float, matrix: Matrix) -> Float:
    """Points [..., 2] through a 2x3 matrix."""
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def warp(
    image: Bytes, matrix: Matrix, size: int, *, nearest: bool = False, border: int | None = None
) -> Bytes:
    """``image`` through a 2x3 matrix onto [size, size]; outside is mirrored, or ``border``.

    Reduced images are smoothed first, so that no detail folds into false patterns.
    """
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 0.6 and not nearest:
        image = _bytes(cv2.GaussianBlur(image, (0, 0), 0.4 / scale))
    flags = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    mode = cv2.BORDER_REFLECT_101 if border is None else cv2.BORDER_CONSTANT
    value = (border or 0,) * 3
    out = cv2.warpAffine(
        image, matrix, (size, size), flags=flags, borderMode=mode, borderValue=value
    )
    return _bytes(out)


def bend(image: Bytes, draw: Draw, largest: float = 0.03) -> Bytes:
    """Smooth random displacement by up to about ``largest`` of the side: another shape of face."""
    size = image.shape[0]
    y, x = np.mgrid[:size, :size].astype(np.float32)
    spread = np.float32(draw.uniform(0.2, 1) * largest * size / 2)
    cells = int(draw.integers(2, 6))
    x, y = (v + spread * smooth_field(draw, size, cells) for v in (x, y))
    return _bytes(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101))


def soft_ellipse(draw: Draw, size: int, smallest: float = 0.08, largest: float = 0.4) -> Float:
    """A soft random ellipse [size, size] in [0, 1]; radii are fractions of the side."""
    mask = np.zeros((size, size), np.float32)
    axes = draw.uniform(smallest, largest, 2) * size
    centre = draw.uniform(0.25, 0.75, 2) * size
    cv2.ellipse(mask, (_pair(centre), _pair(2 * axes), float(draw.uniform(0, 180))), 1.0, -1)
    edge = draw.uniform(0.01, 0.05) * size
    return cv2.GaussianBlur(mask, (0, 0), edge).astype(np.float32)


def to_bytes(x: npt.NDArray[np.floating]) -> Bytes:
    """Rounded and clipped to 0..255."""
    return np.asarray(np.clip(x + 0.5, 0, 255), np.uint8)


def to_tensor_array(images: Bytes) -> Float:
    """uint8 [n, h, w, 3] to float32 [n, 3, h, w] in [-1, 1]."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32) / np.float32(127.5) - 1


def _bytes(array: object) -> Bytes:
    return np.asarray(array, np.uint8)


def _pair(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    return float(values[0]), float(values[1])
