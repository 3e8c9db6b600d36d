"""The quality report: every figure of a bundle, seeded, from one command."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vera import contract
from vera.bundle import Bundle, load_bundle
from vera.engines import Engines, OnnxEngines, Tensor
from vera.errors import UsageError
from vera.pixels.align import to_tensor
from vera.pixels.labels import probabilities, to_labels
from vera_export.evaluation import held_out, pictures, samples
from vera_export.evaluation.agreement import Agreement
from vera_export.evaluation.disentanglement import (
    changes,
    disentanglement_scores,
    typical_differences,
)
from vera_export.evaluation.diversity import cosine_figures, our_embeddings
from vera_export.evaluation.frechet import frechet_figures, pooled_features
from vera_export.evaluation.inversions import InversionErrors
from vera_export.evaluation.photographs import survey
from vera_export.evaluation.readings import Readings, Teachers
from vera_export.evaluation.samples import Samples
from vera_export.training.dataset import Faces, read_faces

log = logging.getLogger(__name__)

Rows = npt.NDArray[np.int64]

# As for the bank of identities: the age estimates err, and nobody younger is to be shown.
_ADULT = 22


@dataclass(frozen=True)
class EvaluationConfig:
    """How many images each figure is read from.

    Attributes:
        samples: Generated people for the Fréchet distance.
        judged: Of these, how many the teachers look at; as many training people beside them.
        parsed: Of these, how many are parsed for the agreement of part maps.
        exchanged: Of these, how many have single codes exchanged.
        inverted: Held-out faces that are inverted.
        photographs: Photographs of each folder that are inverted.
        held_out: Upper limit of held-out faces for the other figures.
        seed: Of every draw.
    """

    samples: int = 400
    judged: int = 160
    parsed: int = 100
    exchanged: int = 48
    inverted: int = 24
    photographs: int = 12
    held_out: int = 214
    seed: int = 0

    @classmethod
    def tiny(cls) -> "EvaluationConfig":
        """The smallest numbers that every figure can be computed from, for tests."""
        return cls(4, 3, 2, 2, 1, 1, 4)


@dataclass(frozen=True, eq=False)
class Report:
    """Figures by name, as written to JSON, and contact sheets uint8 [h, w, 3] by file stem."""

    figures: dict[str, Any]
    pictures: dict[str, npt.NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class _Inputs:
    """What is measured, on what: everything that was opened for one report."""

    config: EvaluationConfig
    bundle: Bundle
    engines: Engines
    judges: Teachers
    faces: Faces
    embedding: npt.NDArray[np.float32]

    @property
    def held(self) -> Rows:
        """The held-out rows that are measured."""
        return self.faces.val[: self.config.held_out]


@dataclass(frozen=True, eq=False)
class _People:
    """Training people: rows, codes, and new people drawn upon their heads; and other rows."""

    rows: Rows
    codes: Tensor
    drawn: Samples
    others: Rows


def evaluate(
    data: Path,
    teachers: Path,
    bundle: Path | None = None,
    *,
    weights: Path | None = None,
    photographs: tuple[Path, ...] = (),
    threads: int | None = None,
    config: EvaluationConfig | None = None,
) -> Report:
    """Measures a bundle.

    Args:
        data: Folder of aligned faces with labels, landmarks and embeddings.
        teachers: Folder of teacher networks.
        bundle: The bundle; None takes the embedded one.
        weights: Folder of ``<name>.safetensors`` and ``.json`` it was made of, for the table of
            networks; None leaves it out.
        photographs: Folders of photographs with ``landmarks.json``.
        threads: Of the engines; None takes all cores.
        config: How many images; None for the defaults.

    Raises:
        UsageError: A folder lacks something, the data has too few faces, or the bundle was
            converted from other networks.
        BundleError: The bundle is damaged.
    """
    cfg = config or EvaluationConfig()
    inputs = _open(data, teachers, bundle, threads, cfg)
    log.info("drawing %d people", cfg.samples)
    people = _draw(inputs)
    figures: dict[str, Any] = {
        "bundle": {"name": inputs.bundle.name, "version": inputs.bundle.version},
        "seed": cfg.seed,
        "data": inputs.faces.describe(),
        "frechet": _frechet(inputs, people),
        "mask_agreement": mask_agreement(samples.first(people.drawn, cfg.parsed), inputs.engines),
    }
    log.info("asking the teachers")
    figures |= _judged(inputs, people)
    log.info("held-out faces")
    figures |= _held_out(inputs)
    figures["photographs"] = {folder.name: _survey(inputs, folder) for folder in photographs}
    if weights is not None:
        figures["networks"] = network_figures(weights)
    log.info("contact sheets")
    return Report(figures, _sheets(inputs, people))


def mask_agreement(drawn: Samples, engines: Engines) -> dict[str, float]:
    """IoU of the generator's part map with the parser's labels of the same image, at 128 px."""
    agreement = Agreement()
    for image, labels in zip(drawn.images, drawn.labels, strict=True):
        shares = probabilities(engines.run("parser", crop=to_tensor(image))["logits"])
        side = labels.shape[0]
        pooled = shares.reshape(len(shares), side, -1, side, shares.shape[2] // side).mean((2, 4))
        agreement.add(labels, to_labels(pooled))
    return {"images": len(drawn.images), **agreement.figures()}


def spread(rows: Rows, count: int) -> Rows:
    """``count`` of the rows at even distances, or all if there are fewer."""
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(np.int64)
    return rows[places]


def network_figures(weights: Path) -> dict[str, dict[str, object]]:
    """Per ``<name>.safetensors`` its parameters, and what ``<name>.json`` says of its training."""
    from safetensors import safe_open

    found: dict[str, dict[str, object]] = {}
    for path in sorted(weights.glob("*.safetensors")):
        if path.stem.endswith(".training") or path.stem == "networks":
            continue
        with safe_open(path, "pt") as file:
            shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118
        entry: dict[str, object] = {"parameters": int(sum(np.prod(s, dtype=int) for s in shapes))}
        record = path.with_suffix(".json")
        if record.is_file():
            said = json.loads(record.read_text(encoding="utf-8"))
            minutes = said.get("minutes", round(float(said.get("seconds", 0)) / 60, 1))
            entry |= {"steps": said.get("steps"), "minutes": minutes, "seed": said.get("seed")}
        found[path.stem] = entry
    return found


def _open(
    data: Path, teachers: Path, bundle: Path | None, threads: int | None, cfg: EvaluationConfig
) -> _Inputs:
    opened = load_bundle(bundle)
    if "encoder" not in opened.engines or opened.layout != contract.DEFAULT:
        raise UsageError(
            f"Bundle {opened.name} has other sizes than VerA's own networks, or no encoder; the "
            "report can only be made of a bundle that VerA trained."
        )
    judges, faces = Teachers(teachers), read_faces(data, with_labels=True)
    if len(faces.train) < 2 * cfg.samples or len(faces.val) < 2:
        raise UsageError(
            f"The report needs {2 * cfg.samples} training and 2 held-out faces, the data folder "
            f"has {len(faces.train)} and {len(faces.val)}; pass a larger one."
        )
    with np.load(data / "embeddings.npz") as archive:
        embedding = np.asarray(archive["embedding"], np.float32)
    engines = OnnxEngines(opened, threads=threads)
    return _Inputs(cfg, opened, engines, judges, faces, embedding)


def _draw(inputs: _Inputs) -> _People:
    cfg, faces, engines = inputs.config, inputs.faces, inputs.engines
    order = np.random.default_rng(cfg.seed).permutation(faces.train)
    rows, others = order[: cfg.samples], order[cfg.samples : 2 * cfg.samples]
    codes = samples.encode(faces, rows, engines)
    bank = inputs.bundle.identities
    drawn = samples.new_people(faces, rows, codes, bank, engines, cfg.seed)
    return _People(rows, codes, samples.render(drawn, engines), others)


def _frechet(inputs: _Inputs, people: _People) -> dict[str, float | int]:
    chosen = {"held": inputs.held, "first": people.rows, "second": people.others}
    real = {
        name: pooled_features(inputs.faces.images[rows], inputs.engines)
        for name, rows in chosen.items()
    }
    drawn = pooled_features(people.drawn.images, inputs.engines)
    return frechet_figures(drawn, real["held"], real["first"], real["second"])


def _judged(inputs: _Inputs, people: _People) -> dict[str, Any]:
    """Diversity and disentanglement."""
    judges, cfg = inputs.judges, inputs.config
    seen = {
        "samples": people.drawn.images[: cfg.judged],
        "real": inputs.faces.images[people.rows[: cfg.judged]],
    }
    readings = {name: judges.read(images) for name, images in seen.items()}
    diversity: dict[str, Any] = {"images": cfg.judged}
    for name, images in seen.items():
        ours = our_embeddings(images, readings[name], inputs.engines)
        teacher = cosine_figures(readings[name].identity)
        diversity[name] = {"ours": cosine_figures(ours), "teacher": teacher}
    few = cfg.exchanged
    typical = typical_differences(readings["real"], cfg.seed)
    base, before = people.drawn.latents[:few], readings["samples"].rows(few)
    others = np.roll(people.codes[: cfg.judged], 1, 0)[:few]

    def moved(start: Readings, latents: Tensor) -> dict[str, float]:
        after = judges.read(samples.render(latents, inputs.engines).images)
        return changes(start, after, typical)

    matrix = {code: moved(before, latents) for code, latents in samples.exchanges(base, others)}
    scores = disentanglement_scores(matrix)
    matrix["all of identity"] = moved(before, people.codes[:few])
    exchanged = {"images": few, "matrix": matrix, "scores": scores}
    return {"diversity": diversity, "disentanglement": exchanged}


def _held_out(inputs: _Inputs) -> dict[str, Any]:
    faces, held, engines = inputs.faces, inputs.held, inputs.engines
    inverted = spread(held, inputs.config.inverted)
    errors = InversionErrors(engines, inputs.bundle)
    return {
        "parser": held_out.parser_figures(faces, held, engines),
        "attributes": held_out.attribute_figures(faces, held, engines),
        "embedder": held_out.embedder_figures(faces, inputs.embedding, held, engines),
        "inversion": held_out.inversion_figures(faces, inverted, engines, errors),
    }


def _survey(inputs: _Inputs, folder: Path) -> dict[str, object]:
    log.info("photographs of %s", folder.name)
    errors = InversionErrors(inputs.engines, inputs.bundle)
    return survey(folder, inputs.engines, inputs.judges, errors, inputs.config.photographs)


def _sheets(inputs: _Inputs, people: _People) -> dict[str, npt.NDArray[np.uint8]]:
    """Contact sheets of heads whose people look grown up."""
    faces, engines, columns = inputs.faces, inputs.engines, 6
    adults = np.flatnonzero(faces.columns["age"][people.rows] >= _ADULT)
    edited = max(1, min(5, len(adults) // 2))
    latents = people.drawn.latents[adults[:edited]]
    rows = people.rows[adults]
    codes, seed = people.codes[adults], inputs.config.seed
    others = pictures.striking_others(faces, rows[:edited], rows, codes, seed)
    ends = people.drawn.latents[adults[-edited:]]
    shown = people.drawn.images[adults[: 3 * columns]]
    return {
        "samples": pictures.sample_sheet(shown, min(columns, len(shown))),
        "edits": pictures.edit_sheet(latents, others, engines),
        "interpolations": pictures.interpolation_sheet(latents, ends, engines),
    }
