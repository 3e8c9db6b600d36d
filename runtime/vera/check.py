"""What is installed and whether it fits together: ``vera check`` and ``vera bundle show``."""

import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vera.bundle import Bundle, load_bundle
from vera.contract import CONTRACT_VERSION, engines
from vera.engines import Engines, OnnxEngines
from vera.errors import BundleError, VeraError
from vera.versions import __version__


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the check.

    Attributes:
        name: What was looked at.
        value: What was found; for something broken, the sentence that says what to do.
        ok: False if VerA cannot work like this.
    """

    name: str
    value: str
    ok: bool = True


def check(
    bundle: Path | None = None,
    *,
    build_info: Callable[[], Mapping[str, Any]] | None = None,
    open_engines: Callable[[Bundle], Engines] = OnnxEngines,
) -> list[Row]:
    """Look at every part that an anonymisation needs.

    Args:
        bundle: Folder of a bundle; None takes the one inside the package.
        build_info: Describes the extension; None asks ``vera.ops``.
        open_engines: Runs the engines of a bundle.
    """
    return [
        Row("vera", f"{__version__}, Python {platform.python_version()}, {platform.machine()}"),
        *_extension(build_info),
        *_onnxruntime(),
        *_bundle(bundle, open_engines),
    ]


def _extension(build_info: Callable[[], Mapping[str, Any]] | None) -> Iterator[Row]:
    try:
        info = build_info() if build_info is not None else _installed_extension()
    except ImportError as error:
        yield Row(
            "extension",
            f"vera._C cannot be loaded ({error}); install the package again with a C++ compiler.",
            ok=False,
        )
        return
    for name, value in info.items():
        yield Row(f"extension {name}", _plain(value))


def _installed_extension() -> Mapping[str, Any]:
    from vera.ops import build_info

    return build_info()


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value) or "none"
    return str(value)


def _onnxruntime() -> Iterator[Row]:
    try:
        import onnxruntime
    except ImportError as error:
        yield Row(
            "onnxruntime", f"cannot be imported ({error}); pip install onnxruntime.", ok=False
        )
        return
    yield Row("onnxruntime", onnxruntime.__version__)
    yield Row("providers", ", ".join(onnxruntime.get_available_providers()))


def _bundle(folder: Path | None, open_engines: Callable[[Bundle], Engines]) -> Iterator[Row]:
    try:
        bundle = load_bundle(folder)
        people = len(bundle.identities.codes)
    except BundleError as error:
        yield Row("bundle", str(error), ok=False)
        return
    yield Row("bundle", f"{bundle.name} {bundle.version}")
    yield Row("bundle folder", str(bundle.folder))
    yield Row("contract", f"version {CONTRACT_VERSION}, the package's")
    yield Row("hashes", f"all {len(bundle.manifest['files'])} files as in the manifest")
    yield Row("identities", f"{people} synthetic people")
    yield _engines(bundle, open_engines(bundle))


def _engines(bundle: Bundle, running: Engines) -> Row:
    """Whether every engine loads, has the contract's tensors and runs, once, on zeros."""
    specs = engines(bundle.layout)
    try:
        for name in bundle.engines:
            if not specs[name].saved:
                running.run(name, **{t.name: _zeros(t.shape) for t in specs[name].inputs})
        gradient = running.gradient()
        gradient.forward(_zeros(specs["generator_forward"].inputs[0].shape))
        gradient.backward({t.name: _zeros(t.shape) for t in specs["generator_backward"].inputs})
    except VeraError as error:
        return Row("engines", str(error), ok=False)
    return Row("engines", f"all {len(bundle.engines)} load and run")


def _zeros(shape: tuple[int | None, ...]) -> npt.NDArray[np.float32]:
    """One sample; the only other free axes are the detector's, which takes multiples of 32."""
    return np.zeros([1, *(64 if side is None else side for side in shape[1:])], np.float32)


def describe_bundle(bundle: Bundle) -> list[Row]:
    """Everything a manifest says, for ``vera bundle show``."""
    files: Mapping[str, Mapping[str, Any]] = bundle.manifest["files"]
    size = sum(int(entry["bytes"]) for entry in files.values())
    rows = [
        Row("name", f"{bundle.name} {bundle.version}"),
        Row("folder", str(bundle.folder)),
        Row("licence", bundle.license),
        Row("contract", f"{bundle.manifest['contract']}, {bundle.manifest['resolution']} px"),
        Row("size", f"{size / 1e6:.1f} MB in {len(files)} files"),
        Row("identities", f"{len(bundle.identities.codes)} synthetic people"),
        Row("gate", f"cosine below {bundle.gate.cosine_threshold:.3f}; {bundle.gate.calibration}"),
    ]
    for name, path in bundle.engines.items():
        entry = files[path.name]
        megabytes = int(entry["bytes"]) / 1e6
        rows.append(
            Row(name, f"{path.name}, {megabytes:.2f} MB, sha256 {bundle.hashes[name][:12]}")
        )
    provenance = bundle.manifest.get("provenance", {})
    rows += [Row(f"provenance {key}", str(value)) for key, value in provenance.items()]
    return rows
