"""What a figure depends on: machine, versions, networks, photographs. Nothing personal."""

import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vera.bundle import Bundle
from vera.files.photo import read_photo
from vera.versions import library_versions

# What makes figures of two files incomparable, if it differs.
MACHINE = (
    *("cpu", "cores", "usable_cores", "gpus", "memory_gb", "system", "versions", "bundle"),
    "photos",
)

_NVIDIA = Path("/proc/driver/nvidia/gpus")  # a folder for each GPU that this process may see


def environment(photos: Sequence[Path], bundle: Bundle | None) -> dict[str, Any]:
    """The environment block of a record.

    Args:
        photos: What is sent; their names are not told, only their sizes.
        bundle: The networks of this process; None if a server alone is measured.
    """
    return {
        "cpu": cpu_model(_text("/proc/cpuinfo")),
        "cores": os.cpu_count() or 1,
        "usable_cores": len(os.sched_getaffinity(0)),
        "gpus": gpu_models(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 2),
        "versions": dict(library_versions()),
        "bundle": None if bundle is None else bundle_of(bundle),
        "photos": _photos(photos),
    }


def bundle_of(bundle: Any) -> dict[str, str]:
    """Name, version and digest."""
    return {"name": bundle.name, "version": bundle.version, "digest": bundle.digest}


def cpu_model(cpuinfo: str) -> str:
    """The processor's name in the text of ``/proc/cpuinfo``."""
    return _field(cpuinfo, "model name") or platform.processor() or platform.machine()


def gpu_models(driver: Path = _NVIDIA) -> list[str]:
    """The names of the GPUs as NVIDIA's driver tells them; empty without one."""
    texts = (_text(path) for path in sorted(driver.glob("*/information")))
    return [name for text in texts if (name := _field(text, "Model"))]


def _field(text: str, name: str) -> str:
    """The first value of a field of the kernel's; empty if there is none."""
    for line in text.splitlines():
        field, _, value = line.partition(":")
        if field.strip() == name:
            return value.strip()
    return ""


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Sentences on what of two environments differs."""
    return [
        f"{name.replace('_', ' ')} differs: {_told(one.get(name))} and {_told(other.get(name))}"
        for name in MACHINE
        if one.get(name) != other.get(name)
    ]


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_told(item)}" for key, item in value.items())
    return str(value)[:64]


def _photos(photos: Sequence[Path]) -> dict[str, Any]:
    sizes = Counter("x".join(map(str, read_photo(path).image.shape[1::-1])) for path in photos)
    return {
        "count": len(photos),
        "sizes": dict(sorted(sizes.items())),
        "formats": dict(sorted(Counter(path.suffix.lower()[1:] for path in photos).items())),
        "bytes": sum(path.stat().st_size for path in photos),
    }


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError:
        return ""
