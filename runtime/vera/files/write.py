"""Writing results: whole or not at all, without metadata, marked as altered.

A file appears under its name only when every byte of it is on the disk. A run that is killed leaves
at most hidden temporary files, which :func:`remove_leftovers` of the next run takes away.
"""

import errno
import io
import os
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vera.errors import OutputError, ShapeError

_JPEG_SUFFIXES = (".jpg", ".jpeg")
# Of zlib's 1..9: photographs are noise to it, higher levels cost seconds for a few per cent.
_PNG_LEVEL = 3

_PREFIX = ".vera-"
_TEMPORARY = re.compile(r"\.vera-(\d+)-[0-9a-f]{16}\.")

# A living process of the same number (containers start at 1 again) keeps its file for this long.
_LEFTOVER_AGE_S = 600.0

# https://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia
_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about=""'
    ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    ' xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
    f' Iptc4xmpExt:DigitalSourceType="{_SOURCE_TYPE}"'
    ' xmp:CreatorTool="{software}"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)


def is_lossy(path: Path) -> bool:
    """Whether :func:`write_image` would change pixels (JPEG)."""
    return path.suffix.lower() in _JPEG_SUFFIXES


def prepare_folder(folder: Path) -> None:
    """Create ``folder`` and prove that a file can be written into it.

    Raises:
        OutputError: It is a file, or cannot be created or written.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"'{folder}' is a file, not a folder; choose another output folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = _temporary(folder, ".txt")
        try:
            probe.write_bytes(b"vera")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise _explained(folder, error) from error


def remove_leftovers(folder: Path) -> int:
    """Delete temporary files that killed runs left in ``folder`` itself; call it before writing.

    Returns:
        How many were deleted.
    """
    removed = 0
    for path in folder.glob(f"{_PREFIX}*"):
        match = _TEMPORARY.match(path.name)
        if match is None or _in_use(int(match[1]), path):
            continue
        try:
            path.unlink()
        except OSError:  # another run was faster, or the file is not ours to delete
            continue
        removed += 1
    return removed


def write_image(path: Path, image: npt.NDArray[np.uint8]) -> None:
    """Write an image as PNG (lossless) or JPEG (quality 95, full colour resolution), by the suffix.

    The file holds no metadata but the mark that it was altered by a trained model (IPTC digital
    source type) and is sRGB by definition.

    Args:
        path: Ends in ``.png``, ``.jpg`` or ``.jpeg``. An earlier file is replaced.
        image: uint8 [h, w, 3], sRGB.

    Raises:
        OutputError: Nothing was written; an earlier file of this name is as it was.
        ShapeError: Not such an image.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ShapeError(f"`image` must be uint8 [h, w, 3], got {image.dtype} {list(image.shape)}.")
    suffix = path.suffix.lower()
    if suffix == ".png":
        _write_whole(path, [encode_png(image)])
    elif suffix in _JPEG_SUFFIXES:
        _write_whole(path, [_jpeg(image)])
    else:
        raise OutputError(
            f"Cannot write '{path}': '{path.suffix}' is no format written here; use .png or .jpg."
        )


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8), whole or not at all.

    Raises:
        OutputError: Nothing was written; an earlier file of this name is as it was.
    """
    _write_whole(path, [text.encode()])


def write_parts(path: Path, parts: Iterable[str], *, mode: int = 0o666) -> None:
    """Write a text file (UTF-8) that need not fit into memory, whole or not at all.

    Args:
        path: An earlier file is replaced.
        parts: The text, piece by piece.
        mode: Permissions, less the process's umask; the file never has wider ones.

    Raises:
        OutputError: Nothing was written; an earlier file of this name is as it was.
    """
    _write_whole(path, (part.encode() for part in parts), mode)


def write_bytes(path: Path, content: bytes | memoryview, *, mode: int = 0o666) -> None:
    """Write a file of another kind, whole or not at all.

    Args:
        path: An earlier file is replaced.
        content: All of it.
        mode: Permissions, less the process's umask; the file never has wider ones.

    Raises:
        OutputError: Nothing was written; an earlier file of this name is as it was.
    """
    _write_whole(path, [content], mode)


def write_animation(
    path: Path, frames: Sequence[npt.NDArray[np.uint8]], *, frame_ms: int = 100
) -> None:
    """Write frames as a lossless, endlessly repeated WebP with the mark of :func:`write_image`.

    Args:
        path: Ends in ``.webp``. An earlier file is replaced.
        frames: uint8 [h, w, 3] each, sRGB, all of one size.
        frame_ms: For how long a frame is shown, in milliseconds.

    Raises:
        OutputError: Nothing was written; an earlier file of this name is as it was.
        ShapeError: No frames, or not such images.
    """
    from PIL import Image

    sizes = {(frame.dtype.name, frame.shape) for frame in frames}
    if len(sizes) != 1 or frames[0].dtype != np.uint8 or frames[0].shape[2:] != (3,):
        raise ShapeError(f"`frames` must be uint8 [h, w, 3] of one size, got {sorted(sizes)}.")
    first, *others = [Image.fromarray(frame) for frame in frames]
    encoded = io.BytesIO()
    xmp = _XMP.replace("{software}", _software()).encode()
    options: dict[str, Any] = {"lossless": True, "quality": 60, "loop": 0, "xmp": xmp}
    first.save(encoded, "WEBP", save_all=True, append_images=others, duration=frame_ms, **options)
    write_bytes(path, encoded.getbuffer())


def encode_png(image: npt.NDArray[np.uint8]) -> memoryview:
    """The PNG file that :func:`write_image` writes, in memory; ``image`` is uint8 [h, w, 3]."""
    from PIL import Image, PngImagePlugin

    marks = PngImagePlugin.PngInfo()
    marks.add(b"sRGB", b"\x00")
    marks.add_itxt("Software", _software())
    marks.add_itxt("DigitalSourceType", _SOURCE_TYPE)
    marks.add_itxt("XML:com.adobe.xmp", _XMP.replace("{software}", _software()))
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "PNG", pnginfo=marks, compress_level=_PNG_LEVEL)
    return encoded.getbuffer()


def _jpeg(image: npt.NDArray[np.uint8]) -> memoryview:
    from PIL import Image

    encoded = io.BytesIO()
    xmp = _XMP.replace("{software}", _software()).encode()
    Image.fromarray(image).save(encoded, "JPEG", quality=95, subsampling="4:4:4", xmp=xmp)
    return encoded.getbuffer()


def _software() -> str:
    try:
        return f"VerA {metadata.version('vera')}"
    except metadata.PackageNotFoundError:  # run from the source tree
        return "VerA"


def _temporary(folder: Path, suffix: str) -> Path:
    return folder / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(8)}{suffix}"


def _in_use(process: int, path: Path) -> bool:
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it lives, under another user
        pass
    try:
        return time.time() - path.stat().st_mtime < _LEFTOVER_AGE_S
    except OSError:
        return True


def _write_whole(path: Path, parts: Iterable[bytes | memoryview], mode: int = 0o666) -> None:
    """Write beside the target, force to disk, rename; leave nothing behind otherwise."""
    temporary = _temporary(path.parent, path.suffix)
    try:
        temporary.touch(mode, exist_ok=False)
        with temporary.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:  # Ctrl-C included
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _explained(path, error) from error
        raise


def _explained(path: Path, error: OSError) -> OutputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"The disk of '{path}' is full; free some space and run again.")
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return OutputError(
            f"'{path}' may not be written; check its permissions or choose another output folder."
        )
    if isinstance(error, FileNotFoundError):
        return OutputError(f"The folder of '{path}' does not exist; create it first.")
    return OutputError(
        f"'{path}' cannot be written ({error.strerror or error}); choose another output folder."
    )
