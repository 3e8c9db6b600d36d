"""What the encoder saves: the loss of the inversion from its latents and from the mean latent.

    python bench/encoder_start.py --data FACES [--bundle BUNDLE] [--faces 6] --out runs/start

Held-out faces of the data folder, each inverted as a photograph of its own, once per budget of
steps: the learning rate rises and falls within the budget, as in the product, but no run stops
early. The learning rate is the one that suits the start: 0.05 from the encoder, 0.1 from the mean.
Writes ``start.json``, ``start.md`` and ``start.png``; also times the inversion as the product runs
it.
"""

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np

from vera.bundle import Bundle, load_bundle
from vera.engines import OnnxEngines
from vera.face.faces import AlignedFace, align_face
from vera.identity.inversion import InversionConfig, invert
from vera_export.evaluation.held_out import face_with
from vera_export.evaluation.report import table
from vera_export.evaluation.run import spread
from vera_export.training.dataset import read_faces

BUDGETS = (0, 10, 30, 100, 400)
RATES = {"encoder": 0.05, "mean": 0.1}
COLOURS = {"encoder": (30, 110, 200), "mean": (200, 80, 30)}


class MeanStart:
    """The engines of a bundle, but the encoder answers with the mean latent."""

    def __init__(self, engines: OnnxEngines, bundle: Bundle) -> None:
        self.layout, self.gradient = engines.layout, engines.gradient
        self._engines, self._mean = engines, bundle.identities.mean

    def run(self, name, **inputs):
        if name == "encoder":
            return {"latent": self._mean[None].copy()}
        return self._engines.run(name, **inputs)


def losses(face: AlignedFace, engines, bundle: Bundle, rate: float) -> list[float]:
    """The smallest loss within each budget."""
    found = []
    for steps in BUDGETS:
        config = InversionConfig(steps=steps, learning_rate=rate, patience=max(BUDGETS) + 1)
        result = invert([face], [face.crop.shape[:2]], engines, bundle, config, lambda _: None)
        found.append(min(result.losses))
    return found


def product(faces: list[AlignedFace], engines, bundle: Bundle) -> dict[str, float]:
    """Seconds, steps and loss of the inversion with the product's own settings."""
    seconds, steps, last = [], [], []
    for face in faces:
        start = time.perf_counter()
        result = invert(
            [face], [face.crop.shape[:2]], engines, bundle, InversionConfig(), lambda _: None
        )
        seconds.append(time.perf_counter() - start)
        steps.append(len(result.losses) - 1)
        last.append(min(result.losses))
    return {
        "seconds_median": float(np.median(seconds[1:] or seconds)),  # the first loads the engines
        "steps_mean": float(np.mean(steps)),
        "loss_mean": float(np.mean(last)),
    }


def plot(means: dict[str, list[float]], path: Path) -> None:
    """Loss over steps, both axes logarithmic, 0 steps at the left edge."""
    width, height, left, top, bottom = 640, 400, 70, 20, 50
    picture = np.full((height, width, 3), 255, np.uint8)
    low, high = (f(v for line in means.values() for v in line) for f in (min, max))
    low, high = np.log(low * 0.9), np.log(high * 1.1)
    right = width - 20

    def place(steps: float, value: float) -> tuple[int, int]:
        x = left + (right - left) * np.log(steps / 4) / np.log(max(BUDGETS) / 4)
        y = top + (height - top - bottom) * (high - np.log(value)) / (high - low)
        return round(float(x)), round(float(y))

    def say(text: str, at: tuple[int, int], colour=(0, 0, 0)) -> None:
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)

    for steps in BUDGETS:
        x = place(steps or 4, np.exp(low))[0]
        cv2.line(picture, (x, top), (x, height - bottom), (225, 225, 225), 1)
        say(str(steps), (x - 8, height - bottom + 20))
    for value in np.exp(np.linspace(low, high, 5)):
        y = place(4, value)[1]
        cv2.line(picture, (left, y), (right, y), (225, 225, 225), 1)
        say(f"{value:.2f}", (left - 52, y + 5))
    for k, (name, line) in enumerate(means.items()):
        points = [place(s or 4, v) for s, v in zip(BUDGETS, line, strict=True)]
        cv2.polylines(picture, [np.array(points)], False, COLOURS[name], 2, cv2.LINE_AA)
        for point in points:
            cv2.circle(picture, point, 4, COLOURS[name], -1, cv2.LINE_AA)
        say(f"from the {name}", (right - 170, top + 20 + 20 * k), COLOURS[name])
    say("gradient steps", (width // 2 - 50, height - 10))
    say("loss", (10, top - 5))
    cv2.imwrite(str(path), picture[:, :, ::-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--faces", type=int, default=6)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    bundle = load_bundle(args.bundle)
    engines = OnnxEngines(bundle, threads=args.threads)
    data = read_faces(args.data)
    faces = [
        align_face(data.images[row], face_with(data.five[row].astype(np.float64)), engines)
        for row in spread(data.val, args.faces)
    ]
    starts = {"encoder": engines, "mean": MeanStart(engines, bundle)}
    timed = product(faces, engines, bundle)
    means = {
        name: np.mean([losses(f, run, bundle, RATES[name]) for f in faces], 0).tolist()
        for name, run in starts.items()
    }
    args.out.mkdir(parents=True, exist_ok=True)
    figures = {"faces": len(faces), "steps": BUDGETS, "loss": means, "product": timed}
    (args.out / "start.json").write_text(json.dumps(figures, indent=1))
    rows = [(f"from the {name}", *line) for name, line in means.items()]
    text = table(("mean loss after", *(f"{s} steps" for s in BUDGETS)), rows)
    (args.out / "start.md").write_text(text + "\n")
    plot(means, args.out / "start.png")
    print(text)
    print(json.dumps(timed))


if __name__ == "__main__":
    main()
