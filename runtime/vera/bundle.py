"""A bundle: the engines of one release, their manifest and the bank of synthetic people."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vera import contract
from vera.errors import BundleError

MANIFEST = "manifest.json"
IDENTITIES = "identities.npz"
_RETRY = "install the package again or pass another bundle"


@dataclass(frozen=True, slots=True)
class GateSettings:
    """Calibration of the identity gate.

    Attributes:
        cosine_threshold: Cosine of two embeddings from which on two faces count as one person.
        false_accept_rate: Share of pairs of different people above it, on the calibration set.
        calibration: Where the two come from, as a sentence.
    """

    cosine_threshold: float
    false_accept_rate: float
    calibration: str


@dataclass(frozen=True, slots=True, eq=False)
class Identities:
    """Synthetic people from whom new identities are drawn, m of them; statistics of latents.

    Attributes:
        codes: float32 [m, 32, d] latents.
        skin: float32 [m, 3] mean skin colour, CIE Lab.
        female: float32 [m] in [0, 1].
        age: float32 [m], years.
        yaw: float32 [m], degrees.
        embedding: float32 [m, e], unit length.
        mean: float32 [32, d] mean of the training latents.
        std: float32 [32, d] standard deviation of the training latents.
    """

    codes: npt.NDArray[np.float32]
    skin: npt.NDArray[np.float32]
    female: npt.NDArray[np.float32]
    age: npt.NDArray[np.float32]
    yaw: npt.NDArray[np.float32]
    embedding: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle.

    Attributes:
        folder: Where it lies.
        name: Name of the release.
        version: Version of the release.
        license: Licence of the weights.
        engines: Path of each engine of the contract; optional ones may be missing.
        hashes: sha256 of each engine's file, hexadecimal.
        feature_weights: Per tap of the perceptual network, float32 [c] weights of the feature
            differences.
        gate: Calibration of the identity gate.
        manifest: The manifest as read, for display.
        layout: Sizes of the engines' tensors.
    """

    folder: Path
    name: str
    version: str
    license: str
    engines: Mapping[str, Path]
    hashes: Mapping[str, str]
    feature_weights: tuple[npt.NDArray[np.float32], ...]
    gate: GateSettings
    manifest: Mapping[str, Any]
    layout: contract.Layout = contract.DEFAULT

    @cached_property
    def digest(self) -> str:
        """sha256, hexadecimal, of the manifest, which lists the sha256 of every file."""
        manifest = json.dumps(dict(self.manifest), sort_keys=True)
        return hashlib.sha256(manifest.encode()).hexdigest()

    @cached_property
    def identities(self) -> Identities:
        """The bank of synthetic people.

        Raises:
            BundleError: It is damaged or of another latent layout.
        """
        return read_identities(self.folder / IDENTITIES, self.layout)


def embedded_bundle() -> Path:
    """Folder of the bundle inside the installed package."""
    return Path(__file__).parent / "bundle"


def load_bundle(folder: Path | None = None) -> Bundle:
    """Opens a bundle after checking its contract and the sha256 of each of its files.

    Args:
        folder: The bundle; None takes the one inside the package.

    Raises:
        BundleError: The bundle is missing, damaged or made for another contract.
    """
    folder = embedded_bundle() if folder is None else Path(folder)
    manifest = _read_manifest(folder)
    try:
        layout = _layout(manifest)
        _check_contract(manifest, layout)
        hashes = _check_files(folder, manifest["files"])
        listed = manifest["engines"]
        names = [n for n in contract.ENGINES if n in listed or n not in contract.OPTIONAL]
        engines = {name: str(listed[name]["file"]) for name in names}
        _check_listed(folder, hashes, (*engines.values(), IDENTITIES))
        return Bundle(
            folder=folder,
            name=str(manifest["name"]),
            version=str(manifest["version"]),
            license=str(manifest["license"]),
            engines={name: folder / file for name, file in engines.items()},
            hashes={name: hashes[file] for name, file in engines.items()},
            feature_weights=_feature_weights(manifest["feature_weights"], layout),
            gate=_gate(manifest["gate"]),
            manifest=manifest,
            layout=layout,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            f"The manifest of the bundle lacks an entry or has one of the wrong kind ({error}); "
            f"{_RETRY}."
        ) from error


def read_identities(path: Path, layout: contract.Layout = contract.DEFAULT) -> Identities:
    """Reads a bank of synthetic people made for engines of ``layout``.

    Raises:
        BundleError: The file is damaged, incomplete or of another latent layout.
    """
    latent = (contract.LATENT_ROWS, layout.latent_width)
    shapes: dict[str, tuple[int, ...]] = {
        "codes": latent,
        "skin": (3,),
        "embedding": (layout.embedding,),
    }
    try:
        with np.load(path, allow_pickle=False) as stored:
            read = {key: np.asarray(stored[key], np.float32) for key in Identities.__slots__}
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(
            f"The bank of synthetic people cannot be read ({error}); {_RETRY}."
        ) from error
    count = len(read["codes"])
    for key, value in read.items():
        wanted = latent if key in ("mean", "std") else (count, *shapes.get(key, ()))
        if value.shape != wanted or not np.isfinite(value).all() or count == 0:
            raise BundleError(
                f"The bank of synthetic people must hold finite {key} of shape {list(wanted)}, "
                f"got {list(value.shape)}; {_RETRY}."
            )
    return Identities(**read)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(
            f"There is no bundle here: {MANIFEST} is missing from the folder; {_RETRY}."
        ) from error
    except (OSError, ValueError) as error:
        raise BundleError(f"The bundle's {MANIFEST} cannot be read ({error}); {_RETRY}.") from error
    if not isinstance(manifest, dict):
        raise BundleError(f"The bundle's {MANIFEST} must be a JSON object; {_RETRY}.")
    return manifest


def layout_entries(layout: contract.Layout) -> dict[str, Any]:
    """The manifest's entries that tell its layout; one without ``layout`` has the default one."""
    return {**_sizes(layout), "layout": asdict(layout)}


def _sizes(layout: contract.Layout) -> dict[str, Any]:
    latent = {"rows": contract.LATENT_ROWS, "width": layout.latent_width}
    return {"resolution": layout.image, "latent": latent}


def _layout(manifest: Mapping[str, Any]) -> contract.Layout:
    entry = manifest.get("layout")
    if entry is None:
        return contract.DEFAULT
    taps = tuple((int(channels), int(side)) for channels, side in entry["perceptual_taps"])
    return contract.Layout(**{**entry, "perceptual_taps": taps})


def _check_contract(manifest: Mapping[str, Any], layout: contract.Layout) -> None:
    wanted: dict[str, Any] = {
        "contract": contract.CONTRACT_VERSION,
        "classes": list(contract.CLASSES),
        **_sizes(layout),
    }
    for key, value in wanted.items():
        if manifest.get(key) != value:
            raise BundleError(
                f"The bundle was made for another {key}: this package needs {value}, the bundle "
                "has "
                f"{manifest.get(key)}; take a bundle of this package's release."
            )


def _check_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Compares each listed file with its sha256 and returns the hashes."""
    hashes = {}
    for file, entry in files.items():
        if Path(file).name != file:
            raise BundleError(
                f"The bundle lists {file!r}, which is not a plain file name; {_RETRY}."
            )
        try:
            with (folder / file).open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise BundleError(
                f"The bundle's file {file} cannot be read ({error.strerror}); {_RETRY}."
            ) from error
        if found != entry["sha256"]:
            raise BundleError(
                f"The bundle's file {file} was changed or damaged: its sha256 starts with "
                f"{found[:12]}, the "
                f"manifest says {str(entry['sha256'])[:12]}; {_RETRY}."
            )
        hashes[file] = found
    return hashes


def _check_listed(folder: Path, hashes: Mapping[str, str], needed: tuple[str, ...]) -> None:
    """Nothing may be used whose hash is not in the manifest, weights beside an engine included."""
    present = [path.name for path in sorted(folder.iterdir()) if path.is_file()]
    unlisted = [file for file in (*needed, *present) if file not in hashes and file != MANIFEST]
    if unlisted:
        raise BundleError(
            f"The manifest of the bundle lists no sha256 for {unlisted[0]}; {_RETRY}."
        )


def _feature_weights(rows: Any, layout: contract.Layout) -> tuple[npt.NDArray[np.float32], ...]:
    weights = tuple(np.asarray(row, np.float32) for row in rows)
    wanted = [channels for channels, _ in layout.perceptual_taps]
    if [w.shape for w in weights] != [(channels,) for channels in wanted] or not all(
        np.isfinite(w).all() and (w >= 0).all() for w in weights
    ):
        raise BundleError(
            f"The bundle's feature_weights must be non-negative and of lengths {wanted}; {_RETRY}."
        )
    return weights


def _gate(entry: Mapping[str, Any]) -> GateSettings:
    gate = GateSettings(
        float(entry["cosine_threshold"]),
        float(entry["false_accept_rate"]),
        str(entry["calibration"]),
    )
    if not -1 < gate.cosine_threshold < 1:
        raise BundleError(
            f"The bundle's gate threshold must be a cosine, got {gate.cosine_threshold}; {_RETRY}."
        )
    return gate
