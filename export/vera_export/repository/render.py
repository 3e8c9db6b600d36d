"""A model repository, rendered from a bundle: complete, verified, and there whole or not at all."""

import os
import secrets
import shutil
from pathlib import Path

from vera.bundle import MANIFEST, Bundle, load_bundle
from vera.errors import OutputError
from vera.files.write import write_text
from vera.launch.repository import MARK, RepositoryMark, hash_file
from vera.versions import __version__
from vera.wire.tensors import MODEL
from vera_export.repository.config import BUNDLE, anonymize_config, engine_config, to_text
from vera_export.repository.options import RepositoryOptions
from vera_export.repository.plans import SCRIPT, build_script
from vera_export.repository.tensors import ServedEngine, served_engines

CONFIG = "config.pbtxt"
CODE = "1/model.py"
_PLAN = "1/model.plan"

# What runs inside Triton is in the package; a model is only where Triton looks for it.
_CODE = '''"""{is_what}"""

from vera.serving.{module} import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''
_ANONYMIZE = _CODE.format(
    is_what="Photographs in, anonymised photographs out; all of it is in the package.",
    module="anonymize_model",
)
_ENGINE = _CODE.format(
    is_what="One engine of the bundle, the one that the model is called after.",
    module="engine_model",
)


def render(out: Path, bundle: Path | None, options: RepositoryOptions) -> RepositoryMark:
    """Writes a model repository.

    Args:
        out: Folder of the repository; an earlier repository of ours is replaced, anything else is
            not touched.
        bundle: Folder of the bundle; None takes the one in the package.
        options: What it is for.

    Returns:
        The mark that stands in it.

    Raises:
        BundleError: The bundle is missing, damaged or of another contract.
        OutputError: It cannot be written there, or something else is there. Nothing was changed.
        UsageError: The schema of Triton's configurations is not installed.
    """
    out = out.absolute()
    _refuse_foreign(out)
    loaded = load_bundle(bundle)
    temporary = out.parent / f".vera-{os.getpid()}-{secrets.token_hex(8)}"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        mark = _write(temporary, loaded, options)
        _replace(temporary, out)
    except OSError as error:
        raise OutputError(
            f"The model repository cannot be written ({error.strerror or error}); choose another "
            "output folder."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return mark


def texts(engines: list[ServedEngine], options: RepositoryOptions) -> dict[str, str]:
    """Configurations and code of all models by their path in the repository."""
    found = {
        f"{MODEL}/{CONFIG}": to_text(anonymize_config(options)),
        f"{MODEL}/{CODE}": _ANONYMIZE,
    }
    for engine in engines:
        found[f"{engine.name}/{CONFIG}"] = to_text(engine_config(engine, options))
        if options.backend == "python":
            found[f"{engine.name}/{CODE}"] = _ENGINE
    return found


def _write(folder: Path, bundle: Bundle, options: RepositoryOptions) -> RepositoryMark:
    engines = served_engines(bundle) if options.engines == "all" else []
    for name, text in texts(engines, options).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_text(folder / name, text)
    held = _copy(bundle, folder / MODEL / BUNDLE)
    if options.backend == "onnxruntime":
        for engine in engines:
            _link(held, engine.name, folder / engine.name / "1")
    plans: tuple[str, ...] = ()
    if options.backend == "tensorrt" and engines:
        plans = tuple(f"{engine.name}/{_PLAN}" for engine in engines)
        for plan in plans:
            (folder / plan).parent.mkdir(parents=True)
        write_text(folder / SCRIPT, build_script(engines, lambda name: held.engines[name].name))
        (folder / SCRIPT).chmod(0o755)
    mark = RepositoryMark(
        backend=options.backend,
        device=options.device,
        bundle=bundle.digest,
        files=_hashes(folder),
        plans=plans,
        vera=__version__,
    )
    write_text(folder / MARK, mark.to_json())
    return mark


def _copy(bundle: Bundle, folder: Path) -> Bundle:
    """The bundle's listed files in ``folder``, verified there again."""
    folder.mkdir(parents=True)
    for file in (MANIFEST, *bundle.manifest["files"]):
        shutil.copyfile(bundle.folder / file, folder / file)
    return load_bundle(folder)


def _link(bundle: Bundle, engine: str, folder: Path) -> None:
    """An engine and the weights beside it; as hard links, since every engine has the same ones."""
    folder.mkdir(parents=True, exist_ok=True)
    engines = {path.name for path in bundle.engines.values()}
    weights = [
        file for file in bundle.manifest["files"] if file.endswith(".bin") and file not in engines
    ]
    pairs = [(bundle.engines[engine], folder / "model.onnx")]
    for source, target in (*pairs, *((bundle.folder / file, folder / file) for file in weights)):
        try:
            target.hardlink_to(source)
        except OSError:  # a file system without hard links
            shutil.copyfile(source, target)


def _hashes(folder: Path) -> dict[str, str]:
    known: dict[int, str] = {}
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CONFIG)
    return {path.relative_to(folder).as_posix(): hash_file(path, known) for path in paths}


def _refuse_foreign(out: Path) -> None:
    if (out / MARK).is_file() or not out.exists():
        return
    if out.is_dir() and not any(out.iterdir()):
        return
    raise OutputError(
        "The output folder holds something that is no model repository of ours; choose another "
        "one or empty it."
    )


def _replace(temporary: Path, out: Path) -> None:
    """``temporary`` becomes ``out``; a kill in between leaves the earlier one beside it."""
    if not out.exists():
        temporary.rename(out)
        return
    earlier = temporary.with_name(f"{temporary.name}-earlier")
    out.rename(earlier)
    try:
        temporary.rename(out)
    except OSError:
        earlier.rename(out)
        raise
    shutil.rmtree(earlier)
