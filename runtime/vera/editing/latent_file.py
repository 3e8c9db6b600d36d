"""Saved latents: a face as numbers, for the bundle that made it.

Latents of a photograph rebuild the face in it: they are personal data as the photograph is. They
are written only when asked for, and readable by their owner alone.
"""

import io
import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vera import contract
from vera.bundle import Bundle
from vera.engines import Tensor
from vera.errors import PhotoError
from vera.files.write import write_bytes

_ENTRIES = ("latents", "about")
_LARGEST_BYTES = 4 * 2**20  # unpacked; a face of the widest layout in use takes 64 KiB


def save_latents(path: Path, latents: Tensor, bundle: Bundle, *, personal: bool) -> None:
    """Writes latents as ``.npz``, with the permissions 0600.

    Args:
        path: An earlier file is replaced.
        latents: float32 [32, d].
        bundle: The bundle that they are for.
        personal: Whether a photograph of a real person is behind them.

    Raises:
        OutputError: Nothing was written.
    """
    about = {
        "bundle": bundle.digest,
        "contract": contract.CONTRACT_VERSION,
        "layout": asdict(bundle.layout),
        "personal": personal,
    }
    packed = io.BytesIO()
    arrays: dict[str, Any] = {
        "latents": np.asarray(latents[None], np.float32),
        "about": np.array(json.dumps(about, sort_keys=True)),
    }
    np.savez(packed, **arrays)
    write_bytes(path, packed.getbuffer(), mode=0o600)


def load_latents(path: Path, bundle: Bundle) -> tuple[Tensor, bool]:
    """Reads what :func:`save_latents` wrote.

    Args:
        path: The file.
        bundle: It must have been written with this one.

    Returns:
        float32 [32, d], and whether a photograph of a real person is behind them.

    Raises:
        PhotoError: The file is missing, damaged, or of another bundle or layout.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(entry.file_size for entry in packed.infolist())
        if size > _LARGEST_BYTES:
            raise ValueError(f"{size} bytes")
        with np.load(path, allow_pickle=False) as stored:
            latents, about = (np.asarray(stored[name]) for name in _ENTRIES)
        described = json.loads(str(about))
        made_by, version = str(described["bundle"]), described["contract"]
        personal = bool(described["personal"])
    except FileNotFoundError as error:
        raise PhotoError("There is no latents file at a path that was given; check it.") from error
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        kind = type(error).__name__
        raise PhotoError(
            f"A latents file is damaged or no latents file ({kind}); write it again with "
            "--save-latents."
        ) from error
    _check_origin(made_by, version, bundle)
    wanted = (1, contract.LATENT_ROWS, bundle.layout.latent_width)
    if latents.dtype != np.float32 or latents.shape != wanted or not np.isfinite(latents).all():
        raise PhotoError(
            f"A latents file must hold finite float32 latents {list(wanted)}, got {latents.dtype} "
            f"{list(latents.shape)}; write it again with --save-latents."
        )
    return np.ascontiguousarray(latents[0]), personal


def _check_origin(made_by: str, version: object, bundle: Bundle) -> None:
    if version != contract.CONTRACT_VERSION:
        raise PhotoError(
            f"A latents file was made for contract {version!r}, this package has "
            f"{contract.CONTRACT_VERSION}; write it again with this release."
        )
    digest = bundle.digest
    if made_by != digest:
        raise PhotoError(
            f"A latents file was made with another bundle ({made_by[:12]!r}, this one is "
            f"{digest[:12]!r}), whose generator would show another face; pass that bundle with "
            "--bundle."
        )
