"""A bundle: every engine, exported, compared with its source, hashed, and put in place at once."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from vera import contract
from vera.bundle import IDENTITIES, MANIFEST, layout_entries, load_bundle
from vera.errors import VeraError
from vera_export import parity
from vera_export.layout import layout_of
from vera_export.models.attributes import Attributes
from vera_export.models.embedder import Embedder
from vera_export.models.guide import Guide, fitting
from vera_export.parity_guide import check_guide
from vera_export.registry import load_networks
from vera_export.storage import halve, round_weights, share
from vera_export.to_onnx import (
    GradientPair,
    folded,
    generator_function,
    generator_to_onnx,
    gradient_pair,
    guide_to_onnx,
    module_to_onnx,
    perceptual_to_onnx,
)

if TYPE_CHECKING:
    import onnx

WEIGHTS = "weights.bin"
_LICENSE = "Apache-2.0; trained on synthetic faces only"


@dataclass(frozen=True)
class Gate:
    """Calibration of the identity gate, as ``vera.bundle.GateSettings``."""

    cosine_threshold: float
    false_accept_rate: float
    calibration: str


@dataclass(frozen=True)
class Release:
    """What a bundle says about itself."""

    name: str
    version: str
    gate: Gate
    license: str = _LICENSE
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Exported:
    """Engines in memory, with the torch graphs of the pair."""

    models: dict[str, "onnx.ModelProto"]
    pair: GradientPair


def build_bundle(weights: Path, out: Path, release: Release, identities: Path) -> dict[str, Any]:
    """Exports the networks of ``weights`` as a bundle.

    Args:
        weights: Folder with ``<name>.safetensors`` of every network.
        out: The bundle's folder; one that is there is replaced once the new one is complete and
            verified.
        release: Name, version, gate, licence, provenance. The metrics beside the weights join the
            provenance.
        identities: The bank of synthetic people.

    Returns:
        The manifest.

    Raises:
        VeraError: Weights are missing, or an engine does not agree with its source.
    """
    networks = load_networks(weights)
    metrics = {name: _metrics(weights / f"{name}.json") for name in networks}
    provenance = {"training": metrics, **release.provenance}
    release = replace(release, license=_license(release, metrics))
    return write_bundle(networks, out, release, identities, provenance)


def _license(release: Release, metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """The licence with those of converted networks in front, which bind the bundle as a whole."""
    foreign = [f"{name}: {m['licence']}" for name, m in metrics.items() if "licence" in m]
    return "; ".join([*foreign, f"the rest: {release.license}"]) if foreign else release.license


def write_bundle(
    networks: dict[str, nn.Module],
    out: Path,
    release: Release,
    identities: Path,
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """As :func:`build_bundle`, from networks in memory, whose weights are rounded in place."""
    if not identities.is_file():
        raise VeraError(
            f"The bank of identities {identities} does not exist; "
            "make it with vera-export identities."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    exported = export_networks(networks)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        folder = Path(scratch) / "bundle"
        folder.mkdir()
        share(exported.models, folder, WEIGHTS)
        shutil.copyfile(identities, folder / IDENTITIES)
        figures = check_bundle(folder, networks, exported.pair)
        manifest = _manifest(folder, networks, release, figures, dict(provenance or {}))
        (folder / MANIFEST).write_text(
            json.dumps(manifest, indent=1, sort_keys=False) + "\n", encoding="utf-8"
        )
        load_bundle(folder)
        if out.exists():
            out.replace(Path(scratch) / "previous")
        folder.replace(out)
    return manifest


def export_networks(networks: dict[str, nn.Module]) -> Exported:
    """Every engine of the contract from its network, in memory.

    Raises:
        VeraError: Networks do not fit each other.
    """
    specs = contract.engines(bundle_layout(networks))
    for network in networks.values():
        round_weights(network.eval().requires_grad_(False))
    generator, perceptual = networks["generator"], networks["perceptual"]
    pair = gradient_pair(generator, perceptual)
    models = {
        "generator": generator_to_onnx(generator),
        "generator_forward": pair.forward,
        "generator_backward": pair.backward,
        "perceptual": perceptual_to_onnx(perceptual, layout_of(generator, perceptual)),
    }
    for name in ("detector", "parser", "embedder", "attributes", "encoder", "refiner"):
        if name in networks:
            models[name] = module_to_onnx(networks[name], specs[name])
    guide = bundle_guide(networks)
    if guide is not None:
        models["guide"] = guide_to_onnx(guide, bundle_layout(networks))
    for model in models.values():
        halve(model)
    return Exported(models, pair)


def check_bundle(
    folder: Path, networks: dict[str, nn.Module], pair: GradientPair
) -> dict[str, Any]:
    """Parity of every engine in ``folder`` with its network; figures by engine.

    Raises:
        VeraError: An engine does not agree.
    """
    layout = bundle_layout(networks)
    specs, batches = contract.engines(layout), parity.batches_for(layout)
    generator, perceptual = networks["generator"], networks["perceptual"]
    names = [n for n in specs if n in networks or n not in contract.OPTIONAL]
    sessions = {name: parity.session(str(folder / f"{name}.onnx")) for name in names}
    sources: dict[str, parity.Source] = dict(networks)
    sources["generator"] = lambda latent: generator(latent)[:2]
    sources["generator_forward"] = generator_function(generator, perceptual)
    figures: dict[str, Any] = {}
    for name in names:
        if name != "generator_backward":
            figures[name] = parity.check_engine(sessions[name], specs[name], sources[name], batches)
    rewritten = generator_function(folded(generator), folded(perceptual))
    ahead, behind = sessions["generator_forward"], sessions["generator_backward"]
    figures["generator_backward"] = {
        "rewrite": parity.check_rewrite(generator, perceptual, batches[0]),
        "trace": parity.check_trace(pair.split, rewritten, batches, layout),
        "engine": parity.check_backward(ahead, behind, pair.split, batches, layout),
    }
    guide, file = bundle_guide(networks), folder / "guide.onnx"
    if guide is not None and file.is_file():  # bundles of before have none
        figures["guide"] = check_guide(parity.session(str(file)), guide, specs["guide"], batches)
    return figures


def bundle_guide(networks: Mapping[str, nn.Module]) -> Guide | None:
    """The guide of these networks; None if one of them has no gradient."""
    embedder, attributes = networks["embedder"], networks["attributes"]
    side = bundle_layout(networks).image
    if not fitting(embedder, attributes, side):
        return None
    return Guide(cast(Embedder, embedder), cast(Attributes, attributes), side).eval()


def bundle_layout(networks: Mapping[str, nn.Module]) -> contract.Layout:
    """The layout of a bundle of these networks.

    Raises:
        VeraError: The encoder was trained for another generator.
    """
    layout = layout_of(*networks.values())
    fitting = layout_of(*(n for name, n in networks.items() if name != "generator"))
    sizes = [(a.image, a.segmentation, a.latent_width) for a in (layout, fitting)]
    if "encoder" in networks and sizes[0] != sizes[1]:
        raise VeraError(
            "The encoder was trained for another generator than the one beside it; remove "
            "encoder.safetensors, then the inversion starts at the mean latent."
        )
    return layout


def _manifest(
    folder: Path,
    networks: dict[str, nn.Module],
    release: Release,
    figures: dict[str, Any],
    provenance: dict[str, Any],
) -> dict[str, Any]:
    gate = release.gate
    return {
        "name": release.name,
        "version": release.version,
        "license": release.license,
        "contract": contract.CONTRACT_VERSION,
        "classes": list(contract.CLASSES),
        **layout_entries(bundle_layout(networks)),
        "files": {path.name: _listed(path) for path in sorted(folder.iterdir())},
        "engines": {
            name: {"file": f"{name}.onnx", "parity": figures[name]}
            for name in contract.ENGINES
            if name in figures
        },
        "feature_weights": networks["perceptual"].feature_weights(),  # type: ignore[operator]
        "gate": {
            "cosine_threshold": gate.cosine_threshold,
            "false_accept_rate": gate.false_accept_rate,
            "calibration": gate.calibration,
        },
        "precision": "float16 weights, float32 arithmetic; parity is with the rounded weights",
        "torch": str(torch.__version__),
        "provenance": provenance,
    }


def _listed(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _metrics(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
