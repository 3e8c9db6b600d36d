"""Versions of what made a result, for the report."""

import platform
from importlib import metadata

from vera.bundle import Bundle
from vera.report import BundleReport

_DIGITS = 12  # of a sha256: enough to tell engines apart


def library_versions() -> dict[str, str]:
    """Versions of VerA, Python and the libraries whose results may differ from one to the next."""
    import cv2
    import numpy
    import onnxruntime

    return {
        "vera": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "onnxruntime": onnxruntime.__version__,
        "opencv": cv2.__version__,
    }


def _package_version() -> str:
    try:
        return metadata.version("vera")
    except metadata.PackageNotFoundError:
        return "0+source"  # run from a source tree


__version__ = _package_version()


def bundle_report(bundle: Bundle) -> BundleReport:
    """Name, version and engine hashes of a bundle."""
    hashes = {name: digest[:_DIGITS] for name, digest in bundle.hashes.items()}
    return BundleReport(bundle.name, bundle.version, hashes)
