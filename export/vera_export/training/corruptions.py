"""What cameras and files do to a photograph: light, colour, blur, noise, compression."""

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]


def corrupt(image: Image, random: np.random.Generator) -> Image:
    """A randomly degraded copy of a uint8 [h, w, 3] RGB image; geometry is unchanged."""
    image = _tone(image, random)
    if random.random() < 0.25:
        image = np.asarray(
            cv2.GaussianBlur(image, (0, 0), float(random.uniform(0.4, 1.6))), np.uint8
        )
    elif random.random() < 0.15:
        image = _coarse(image, random)
    if random.random() < 0.3:
        noise = (
            random.standard_normal(image.shape, np.float32) * np.float32(random.uniform(1, 14))
        ).astype(np.int16)
        image = np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)
    if random.random() < 0.3:
        quality = int(random.integers(25, 95))
        _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
    if random.random() < 0.15:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        image = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
    return image


def _tone(image: Image, random: np.random.Generator) -> Image:
    """Gamma, exposure, contrast and white balance in one table per channel."""
    steps = np.linspace(0, 1, 256)
    gamma = np.exp(random.normal(0, 0.25))
    contrast = np.exp(random.normal(0, 0.15))
    exposure = np.exp(random.normal(0, 0.15))
    tables = [
        np.clip((steps**gamma - 0.5) * contrast + 0.5, 0, 1) * exposure * np.exp(balance) * 255
        for balance in random.normal(0, 0.06, 3)
    ]
    table = np.clip(np.stack(tables, -1), 0, 255).astype(np.uint8).reshape(1, 256, 3)
    return np.asarray(cv2.LUT(image, table), np.uint8)


def _coarse(image: Image, random: np.random.Generator) -> Image:
    h, w = image.shape[:2]
    factor = random.uniform(0.4, 0.8)
    small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR), np.uint8)
