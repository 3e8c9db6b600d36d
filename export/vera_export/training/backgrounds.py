"""Face-free backgrounds for synthetic scenes: procedural, or shipped with scikit-image."""

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

# Shipped inside the scikit-image wheel and without people. Coffee, chelsea and rocket are left
# out on purpose: they measure false positives. Astronaut and camera show people.
_SHIPPED = (
    "brick.png",
    "cell.png",
    "clock_motion.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "retina.jpg",
    "text.png",
)


def shipped_images() -> list[Image]:
    """The face-free images of an installed scikit-image, or none where it is not installed."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent / "data"
    images = []
    for name in _SHIPPED:
        if (folder / name).is_file():
            read = cv2.imread(str(folder / name), cv2.IMREAD_COLOR_RGB)
            if read is not None:
                images.append(np.asarray(read, np.uint8))
    return images


class Backgrounds:
    """Draws square backgrounds of one size."""

    def __init__(self, size: int, random: np.random.Generator) -> None:
        """``size`` in pixels; every draw takes from ``random``."""
        self._size = size
        self._random = random
        self._shipped = shipped_images()

    def draw(self) -> Image:
        """The next background, uint8 [size, size, 3]."""
        rng = self._random
        draw = rng.random()
        if draw < 0.35 and self._shipped:
            image = self._window(self._shipped[int(rng.integers(len(self._shipped)))])
        elif draw < 0.55:
            image = self._clouds()
        else:
            image = self._gradient()
        if rng.random() < 0.6:
            self._shapes(image)
        if rng.random() < 0.3:
            self._emblems(image)
        if rng.random() < 0.2:
            image = np.ascontiguousarray(image[..., rng.permutation(3)])
        return image

    def from_crop(self, image: Image, labels: Image) -> Image:
        """Background of a training crop: the person is covered by what surrounds it, then mixed."""
        rng = self._random
        person = cv2.dilate((labels > 0).astype(np.uint8), np.ones((9, 9), np.uint8))
        small = cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
        weight = cv2.resize(1 - person, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
        total = cv2.GaussianBlur(weight, (0, 0), 9) + np.float32(1e-3)
        mean = cv2.GaussianBlur(small * weight[..., None], (0, 0), 9) / total[..., None]
        filled = cv2.resize(mean, (256, 256))
        free = (person == 0)[..., None]
        out = np.where(free, image, np.clip(filled, 0, 255)).astype(np.uint8)
        if rng.random() < 0.5:
            self._shapes(out)
        size = (self._size, self._size)
        return np.asarray(cv2.resize(out, size, interpolation=cv2.INTER_LINEAR), np.uint8)

    def _window(self, image: Image) -> Image:
        rng = self._random
        h, w = image.shape[:2]
        side = int(min(h, w) * rng.uniform(0.25, 1.0))
        y, x = int(rng.integers(0, h - side + 1)), int(rng.integers(0, w - side + 1))
        size = (self._size, self._size)
        out = cv2.resize(image[y : y + side, x : x + side], size, interpolation=cv2.INTER_AREA)
        if rng.random() < 0.5:
            out = out[:, ::-1]
        if rng.random() < 0.3:
            out = out.transpose(1, 0, 2)
        return np.ascontiguousarray(out)

    def _clouds(self) -> Image:
        """Sum of noise octaves, tinted: walls, foliage, cloth."""
        rng = self._random
        total = np.zeros((self._size, self._size, 3), np.float32)
        strength = rng.uniform(10, 90)
        for octave in range(1, 8):
            cells = 2**octave
            channels = 3 if rng.random() < 0.4 else 1
            noise = rng.normal(0, 1, (cells, cells, channels)).astype(np.float32)
            grown = cv2.resize(noise, (self._size, self._size), interpolation=cv2.INTER_CUBIC)
            total += grown.reshape(self._size, self._size, channels) * strength
            strength *= rng.uniform(0.3, 0.95)
        return np.clip(total + rng.uniform(0, 255, 3), 0, 255).astype(np.uint8)

    def _gradient(self) -> Image:
        """Plain or softly graded tone: a studio wall."""
        rng = self._random
        corners = rng.uniform(0, 255, 3) + rng.normal(0, rng.choice([2, 15, 60]), (2, 2, 3))
        if rng.random() < 0.3:
            corners = corners.mean(2, keepdims=True) + rng.normal(0, 3, 3)
        grown = cv2.resize(np.clip(corners, 0, 255), (self._size, self._size))
        return np.clip(grown, 0, 255).astype(np.uint8)

    def _emblems(self, image: Image) -> None:
        """Small busy patches, as badges, leaves and windows are: coarse noise, often symmetric."""
        rng = self._random
        for _ in range(int(rng.integers(1, 6))):
            side = int(np.exp(rng.uniform(np.log(12), np.log(0.3 * self._size))))
            cells = int(rng.integers(3, 9))
            patch = rng.uniform(0, 255, 3) + rng.normal(0, rng.uniform(10, 80), (cells, cells, 3))
            if rng.random() < 0.5:
                patch[:, cells // 2 :] = patch[:, : cells - cells // 2][
                    :, ::-1
                ]  # like left, like right
            how = cv2.INTER_CUBIC if rng.random() < 0.7 else cv2.INTER_NEAREST
            grown = cv2.resize(
                np.clip(patch, 0, 255).astype(np.uint8), (side, side), interpolation=how
            )
            y, x = (int(v) for v in rng.integers(0, self._size - side, 2))
            mask = np.zeros((side, side), np.uint8)
            if rng.random() < 0.6:
                half = side // 2
                cv2.ellipse(mask, (half, half), (int(half * 0.8), half), 0, 0, 360, 255, -1)
            else:
                mask[:] = 255
            cv2.copyTo(grown, mask, image[y : y + side, x : x + side])

    def _shapes(self, image: Image) -> None:
        """Rectangles, ellipses and lines in colours of anything, skin included."""
        rng = self._random
        h, w = image.shape[:2]
        for _ in range(int(rng.integers(1, 10))):
            tone = [float(v) for v in rng.uniform(0, 255, 3)]
            if rng.random() < 0.35:  # skin, from dark to pale
                light = rng.uniform(60, 255)
                tone = [float(light), float(light * 0.75), float(light * rng.uniform(0.5, 0.7))]
            a = (int(rng.integers(w)), int(rng.integers(h)))
            b = (int(rng.integers(w)), int(rng.integers(h)))
            kind = rng.random()
            if kind < 0.35:
                axes = (1 + abs(a[0] - b[0]) // 3, 1 + abs(a[1] - b[1]) // 3)
                cv2.ellipse(
                    image, a, axes, float(rng.uniform(0, 180)), 0, 360, tone, -1, cv2.LINE_AA
                )
            elif kind < 0.65:
                cv2.rectangle(image, a, b, tone, int(rng.choice([-1, 1, 3])))
            elif kind < 0.85:
                cv2.line(image, a, b, tone, int(rng.integers(1, 12)), cv2.LINE_AA)
            else:
                radius = int(rng.integers(2, 24))
                cv2.circle(image, a, radius, tone, int(rng.choice([-1, 2])), cv2.LINE_AA)
        if rng.random() < 0.3:
            image[:] = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.5, 6)))
