"""Image files that are small, and hold or say they hold far more than they are worth."""

import zlib

_ZEROS = b"\x00" * 1_000_000


def png(width: int, height: int, data: bytes, *before: tuple[bytes, bytes]) -> bytes:
    """A PNG file, RGB.

    Args:
        width: As its header says.
        height: As its header says.
        data: What is in it in place of pixels, compressed.
        before: Kind and content of further chunks.
    """
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    chunks = ((b"IHDR", header), *before, (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        for kind, data in chunks
    )


def zeros(megabytes: int) -> bytes:
    """So many of them, compressed a thousand times."""
    packer = zlib.compressobj(9, wbits=-15)
    # A block that starts anew can be repeated as it is: compressing so much takes seconds.
    block = packer.compress(_ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = (megabytes * len(_ZEROS) % 65521) << 16 | 1
    return b"\x78\xda" + block * megabytes + b"\x03\x00" + checksum.to_bytes(4, "big")


def profile(megabytes: int) -> tuple[bytes, bytes]:
    """A chunk with a colour profile of so many zeros."""
    return b"iCCP", b"p\x00\x00" + zeros(megabytes)


def text(megabytes: int) -> tuple[bytes, bytes]:
    """A chunk with so many zeros as compressed text."""
    return b"zTXt", b"t\x00\x00" + zeros(megabytes)
