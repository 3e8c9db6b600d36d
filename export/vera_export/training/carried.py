"""Weights as a checkpoint that can be carried to another machine, and back."""

from pathlib import Path

from vera.errors import UsageError
from vera_export.models import attributes
from vera_export.training.checkpoint import (
    gathered,
    read_checkpoint,
    scatter,
    write_checkpoint,
)
from vera_export.training.networks import Networks, load_folder, write_folder


def pack_weights(weights: Path, out: Path) -> dict[str, int]:
    """Writes what a timed run needs of a folder of weights as a checkpoint.

    Args:
        weights: Folder with generator, encoder, mapping and attributes ``.safetensors``.
        out: Folder of the checkpoint.

    Returns:
        Bytes of each file.

    Raises:
        UsageError: A file is missing.
    """
    for name in ("generator", "encoder", "mapping", "attributes"):
        if not (weights / f"{name}.safetensors").is_file():
            raise UsageError(f"{weights} has no {name}.safetensors; pass a folder that has it.")
    nets = Networks()
    load_folder(nets, weights)
    judge = attributes.load(weights / "attributes.safetensors")
    modules = {"networks": nets, "attributes": judge}
    write_checkpoint(out, gathered(modules), {"attributes": list(judge.config.widths)})
    return {path.name: path.stat().st_size for path in sorted(out.iterdir()) if path.is_file()}


def unpack_weights(checkpoint: Path, out: Path) -> dict[str, int]:
    """Writes the averaged networks of a checkpoint as ``<name>.safetensors`` into ``out``.

    Returns:
        The checkpoint's steps.

    Raises:
        UsageError: There is no checkpoint, or it holds no averaged networks of the default size.
    """
    tensors, state = read_checkpoint(checkpoint)
    nets = Networks()
    if scatter(tensors, {"average": nets}) != ["average"]:
        raise UsageError(f"{checkpoint} holds no averaged networks; pass another checkpoint.")
    write_folder(nets, out)
    return {"steps": int(state.get("steps", 0))}
