"""A drawn person, engines that are plain functions, a bundle of random numbers: no weights."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from job_folder import write_cases
from PIL import Image

from vera import contract
from vera.bundle import Bundle, load_bundle
from vera.pixels.align import FFHQ, crop_matrix, to_image

PHOTO_SIDE = 320
_COLOURS = np.array(
    [
        (90, 110, 140),
        (214, 160, 130),
        (60, 40, 40),
        (90, 60, 40),
        (170, 60, 70),
        (205, 150, 125),
        (200, 140, 120),
        (50, 35, 30),
        (205, 150, 125),
        (40, 80, 60),
        (20, 20, 20),
        (80, 80, 160),
        (230, 220, 90),
    ],
    np.uint8,
)


def _ellipse(labels, name, centre, axes):
    cv2.ellipse(labels, centre, axes, 0, 0, 360, contract.CLASSES.index(name), -1)


def face_labels() -> np.ndarray:
    """The part map of a drawn face on the FFHQ template, uint8 [256, 256]."""
    labels = np.zeros((256, 256), np.uint8)
    _ellipse(labels, "cloth", (128, 300), (120, 70))
    _ellipse(labels, "hair", (128, 110), (88, 105))
    cv2.rectangle(labels, (100, 200), (156, 250), contract.CLASSES.index("neck"), -1)
    for x in (58, 198):
        _ellipse(labels, "ear", (x, 140), (10, 18))
    _ellipse(labels, "skin", (128, 145), (68, 85))
    for x in (96, 159):
        _ellipse(labels, "eye", (x, 120), (13, 6))
        _ellipse(labels, "brow", (x, 102), (17, 4))
    _ellipse(labels, "nose", (128, 148), (11, 17))
    _ellipse(labels, "mouth", (128, 186), (26, 9))
    return labels


LABELS = face_labels()


def face_points(scale: float, left: float, top: float) -> np.ndarray:
    """The five points of a drawn face of this size at this place."""
    return FFHQ.points * scale + (left, top)


def draw_photo(seed: int = 0, faces=((0.9, 40.0, 50.0),), side: int = PHOTO_SIDE) -> np.ndarray:
    """A photograph uint8 [side, side, 3] of one or more drawn faces: (scale, left, top) each."""
    random = np.random.default_rng(seed)
    photo = np.broadcast_to(np.linspace(70, 150, side)[None, :, None], (side, side, 3)).copy()
    for scale, left, top in faces:
        place = np.linalg.inv(np.vstack([crop_matrix(face_points(scale, left, top)), [0, 0, 1]]))[
            :2
        ]
        tint = random.normal(0, 14, (8, 8, 3)).astype(np.float32)
        person = _COLOURS[LABELS].astype(np.float32) + cv2.resize(tint, (256, 256))
        shown = (LABELS > 0).astype(np.float32)
        size = (side, side)
        mask = cv2.warpAffine(shown, place, size)[..., None] > 0.5
        photo = np.where(mask, cv2.warpAffine(person, place, size), photo)
    photo += random.normal(0, 2, photo.shape)
    return np.clip(photo, 0, 255).astype(np.uint8)


class FakeGradient:
    """A generator that is one matrix, with its exact gradient."""

    def __init__(self, engines: "FakeEngines") -> None:
        self._engines = engines
        self.outputs: dict[str, np.ndarray] = {}
        self.calls = 0

    def forward(self, latent: np.ndarray) -> None:
        self.calls += 1
        self.outputs = self._engines.render(latent)

    def backward(self, grads: Mapping[str, np.ndarray]) -> np.ndarray:
        return self._engines.render_backward(grads)


class FakeEngines:
    """The contract as functions of NumPy, for the drawn photographs.

    Attributes:
        faces: The faces that the detector finds, (scale, left, top) each.
        overrides: By engine name a function of its inputs that replaces it.
    """

    layout = contract.DEFAULT

    def __init__(self, faces=((0.9, 40.0, 50.0),), side: int = PHOTO_SIDE) -> None:
        self.faces, self.side = faces, side
        self.overrides: dict = {}
        self.calls: list[str] = []
        random = np.random.default_rng(5)
        rows = contract.LATENT_ROWS * contract.LATENT_WIDTH
        self._matrix = (random.normal(0, 1, (3 * 16 * 16, rows)) / rows**0.5).astype(np.float32)
        self._colours = [
            np.abs(random.normal(0, 1, (c, 3))).astype(np.float32)
            for c, _ in contract.PERCEPTUAL_TAPS
        ]
        self._look = random.normal(0, 1, (128, 6 * 6 * 3)).astype(np.float32)

    def run(self, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        self.calls.append(name)
        assert set(inputs) == {spec.name for spec in contract.ENGINES[name].inputs}
        outputs = self.overrides.get(name, getattr(self, "_" + name))(**inputs)
        for spec in contract.ENGINES[name].outputs:
            assert outputs[spec.name].dtype == spec.dtype
            assert len(outputs[spec.name].shape) == len(spec.shape)
        return outputs

    def gradient(self, *, batch: int = 1, threads: int | None = None) -> FakeGradient:
        return FakeGradient(self)

    def render(self, latent: np.ndarray) -> dict[str, np.ndarray]:
        small = np.tanh(self._matrix @ latent.reshape(-1)).reshape(3, 16, 16)
        self._small = small
        image = np.repeat(np.repeat(small, 16, 1), 16, 2)[None]
        outputs = {"image": image, **self._perceptual(crop=image)}
        logits = (np.arange(13)[:, None, None] == LABELS[None]).astype(np.float32) * 8
        outputs["segmentation"] = _pool(logits, 128)[None]
        outputs["depth"] = _pool(logits, 32)[None]
        return {key: np.ascontiguousarray(value, np.float32) for key, value in outputs.items()}

    def render_backward(self, grads: Mapping[str, np.ndarray]) -> np.ndarray:
        total = grads["grad_image"][0].astype(np.float64)
        for i, (_, side) in enumerate(contract.PERCEPTUAL_TAPS):
            grad = np.tensordot(self._colours[i].T, grads[f"grad_feature_{i}"][0], 1)
            step = 256 // side
            total += np.repeat(np.repeat(grad, step, 1), step, 2) / step**2
        small = total.reshape(3, 16, 16, 16, 16).sum((2, 4)) * (1 - self._small**2)
        flat = self._matrix.T @ small.reshape(-1)
        return flat.reshape(1, contract.LATENT_ROWS, contract.LATENT_WIDTH).astype(np.float32)

    def _detector(self, photo):
        found = self.faces if photo.mean() > -0.95 else ()
        ratio = photo.shape[-1] / self.side
        points = np.array([face_points(*face) for face in found]).reshape(1, -1, 5, 2)
        centre, reach = points.mean(2), [(90 * face[0], 110 * face[0]) for face in found]
        reach = np.array(reach).reshape(1, -1, 2)
        boxes = np.concatenate([centre - reach, centre + reach], 2)
        scale = lambda value: ((value + 0.5) * ratio - 0.5).astype(np.float32)  # noqa: E731
        return {
            "scores": np.full((1, len(found)), 0.9, np.float32),
            "boxes": scale(boxes),
            "points": scale(points),
        }

    def _attributes(self, face):
        n = len(face)
        points = (FFHQ.points + 0.5) / 2 - 0.5
        return {
            "pose": np.zeros((n, 3), np.float32),
            "expression": np.full((n, 7), 1 / 7, np.float32),
            "mouth_open": np.zeros((n, 1), np.float32),
            "age": np.full((n, 1), 40, np.float32),
            "female": np.full((n, 1), 0.5, np.float32),
            "points": np.broadcast_to(points, (n, 5, 2)).astype(np.float32),
        }

    def _parser(self, crop):
        logits = (np.arange(13)[:, None, None] == LABELS[None]).astype(np.float32) * 8
        return {"logits": np.repeat(logits[None], len(crop), 0)}

    def _embedder(self, face):
        middle = to_image(face)[36:84, 32:80]  # eyes and nose; cheeks and hair tell nothing apart
        small = cv2.resize(middle, (6, 6), interpolation=cv2.INTER_AREA).astype(np.float32)
        look = self._look @ (small - small.mean((0, 1))).reshape(-1)
        return {"embedding": (look / max(np.linalg.norm(look), 1e-6))[None]}

    def _guide(self, image, embedding, **wanted):
        """The embedder's look at one aligned picture, and its brightness for an attribute."""
        small = image[0, :, 91:175, 86:170].reshape(3, 6, 14, 6, 14).mean((2, 4))
        centred = (small - small.mean((1, 2), keepdims=True)).transpose(1, 2, 0)
        look = self._look @ centred.reshape(-1)
        length = max(np.linalg.norm(look), 1e-6)
        cosine = look @ embedding[0] / length
        back = self._look.T @ (embedding[0] / length - cosine * look / length**2)
        back = back.reshape(6, 6, 3).transpose(2, 0, 1) / 14**2
        grad = np.zeros_like(image)
        back = np.repeat(np.repeat(back - back.mean((1, 2), keepdims=True), 14, 1), 14, 2)
        grad[0, :, 91:175, 86:170] = back
        light = image.mean()
        return {
            "cosine": np.array([cosine], np.float32),
            "grad_cosine": grad,
            "attribute_loss": np.array([light**2], np.float32),
            "grad_attributes": np.full_like(image, 2 * light / image.size),
        }

    def _encoder(self, crop, labels):
        latent = np.full((len(crop), contract.LATENT_ROWS, contract.LATENT_WIDTH), 0.1, np.float32)
        latent[:, :2] += crop.mean()
        return {"latent": latent}

    def _perceptual(self, crop):
        pooled = [_pool(crop[0], side) for _, side in contract.PERCEPTUAL_TAPS]
        return {
            f"feature_{i}": np.tensordot(m, p, 1)[None]
            for i, (m, p) in enumerate(zip(self._colours, pooled, strict=True))
        }

    def _generator(self, latent):
        outputs = self.render(latent)
        return {key: outputs[key] for key in ("image", "segmentation")}

    def _refiner(self, image, mask):
        """Brighter by 8 grey levels where it may change something."""
        crop = np.concatenate([image, mask], 1)
        larger = np.repeat(np.repeat(crop, 2, 2), 2, 3)
        return {"refined": larger[:, :3] + larger[:, 3:] * np.float32(8 / 127.5)}


def _pool(planes: np.ndarray, side: int) -> np.ndarray:
    step = planes.shape[-1] // side
    return planes.reshape(planes.shape[0], side, step, side, step).mean((2, 4), dtype=np.float32)


def write_identities(path: Path, count: int = 40, **changes: np.ndarray) -> None:
    """A bank of random people; ``changes`` replace arrays."""
    random = np.random.default_rng(11)
    rows = (contract.LATENT_ROWS, contract.LATENT_WIDTH)
    embedding = random.normal(0, 1, (count, 128))
    arrays = {
        "codes": random.normal(0, 2, (count, *rows)).astype(np.float16),
        "skin": random.normal((70, 12, 16), 4, (count, 3)).astype(np.float32),
        "female": random.uniform(0, 1, count).astype(np.float32),
        "age": random.uniform(20, 70, count).astype(np.float32),
        "yaw": random.normal(0, 10, count).astype(np.float32),
        "embedding": (embedding / np.linalg.norm(embedding, axis=1)[:, None]).astype(np.float16),
        "mean": np.zeros(rows, np.float32),
        "std": np.ones(rows, np.float32),
    }
    np.savez(path, **{**arrays, **changes})


def write_bundle(folder: Path, **changes: object) -> Path:
    """A bundle whose engines are empty files; ``changes`` replace entries of the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in contract.ENGINES:
        (folder / f"{name}.onnx").write_bytes(name.encode())
    write_identities(folder / "identities.npz")
    files = {
        file.name: {
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "bytes": file.stat().st_size,
        }
        for file in sorted(folder.iterdir())
        if file.name != "manifest.json"
    }
    manifest = {
        "name": "fake",
        "version": "0",
        "license": "none",
        "contract": contract.CONTRACT_VERSION,
        "resolution": 256,
        "classes": list(contract.CLASSES),
        "latent": {"rows": contract.LATENT_ROWS, "width": contract.LATENT_WIDTH},
        "files": files,
        "engines": {name: {"file": f"{name}.onnx"} for name in contract.ENGINES},
        "feature_weights": [[1.0] * channels for channels, _ in contract.PERCEPTUAL_TAPS],
        "gate": {"cosine_threshold": 0.8, "false_accept_rate": 0.01, "calibration": "invented"},
        **changes,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def fakes() -> SimpleNamespace:
    """The functions and classes of this file."""
    return SimpleNamespace(
        Engines=FakeEngines,
        draw_photo=draw_photo,
        face_points=face_points,
        labels=LABELS,
        write_bundle=write_bundle,
        write_identities=write_identities,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three cases, see ``job_folder.write_cases``."""
    return write_cases(tmp_path / "patients")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A file with a drawn face and a name that must not be told."""
    path = tmp_path / "jane_doe.png"
    Image.fromarray(draw_photo()).save(path)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output folder that does not exist yet."""
    return tmp_path / "out"


@pytest.fixture
def bundle_folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


@pytest.fixture
def fake_bundle(bundle_folder: Path) -> Bundle:
    return load_bundle(bundle_folder)


@pytest.fixture
def fake_engines() -> FakeEngines:
    return FakeEngines()


@pytest.fixture
def run(fake_engines, fake_bundle):
    """Runs a case: (image, report) of each photograph and variant."""
    from vera.case.case import open_case
    from vera.case.pipeline import anonymize_case
    from vera.settings import Settings

    def run(photos, engines=fake_engines, bundle=fake_bundle, told=None, people=None, **settings):
        request = {name: settings.pop(name) for name in ("keep", "seed", "key") if name in settings}
        if "key" not in request:
            request.setdefault("seed", 3)
        controls = Settings(**{"steps": 1, **settings})
        case = open_case(photos, **{"keep": "none", "seed": None, **request}, settings=controls)
        progress = told.append if told is not None else lambda part: None
        done = anonymize_case(case, engines, bundle, lambda stage, done: progress(done), people)
        return [(outcome.image, outcome.report) for outcome in done]

    return run


@pytest.fixture
def editor(fake_bundle: Bundle, fake_engines: FakeEngines):
    """An editor whose bank has fewer people, because measuring them takes its time."""
    from vera.editing import Editor

    bank = fake_bundle.identities
    per_person = ("codes", "skin", "female", "age", "yaw", "embedding")
    few = {name: getattr(bank, name)[:6] for name in per_person}
    fake_bundle.__dict__["identities"] = replace(bank, **few)
    return Editor(fake_bundle, engines=fake_engines)
