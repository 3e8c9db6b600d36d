"""Blending against OpenCV; the error against a sparse direct solve is asserted before any timing.

    python bench/blend.py
    OMP_NUM_THREADS=1 python bench/blend.py --cpu-time      on a machine that is never quiet

The masks: an ellipse of 400 x 300 in a photo of 1024 x 1024, and 1000 x 1000.
"""

import argparse
import resource
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from timing import copy_bandwidth, machine, measure, print_json

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "ops"))
from test_blend import direct_solve, ellipse, pictures

from vera import _C
from vera.ops.blend import blend, poisson_correction

SIDE = 1024
Image = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpu-time", action="store_true", help="one thread, seconds on its core")
    arguments = parser.parse_args()
    if arguments.cpu_time:
        cv2.setNumThreads(1)
    generated, photo = pictures(SIDE, SIDE)
    small = ellipse(SIDE, SIDE, 512, 512, 147, 197)
    large = np.zeros((SIDE, SIDE), bool)
    large[12:1012, 12:1012] = True
    bandwidth = copy_bandwidth(1 if arguments.cpu_time else 2, cpu_time=arguments.cpu_time)
    print_json({"copy_gb_per_s": round(bandwidth / 1e9, 1)} | machine())
    for name, mask in (("ellipse 400x300", small), ("square 1000x1000", large)):
        error = largest_error(generated, photo, mask)
        row = compare(
            f"poisson {name}",
            lambda m=mask: blend(generated, photo, m),
            clone(generated, photo, mask),
            workspace_bytes(mask),
            bandwidth,
            arguments.cpu_time,
        )
        print_json(row | {"error_levels": round(error, 3)})
    for name, mask in (("ellipse 400x300", small), ("square 1000x1000", large)):
        print_json(
            compare(
                f"multiband {name}",
                lambda m=mask: blend(generated, photo, m, method="multiband"),
                detail_blender(generated, photo, mask),
                multiband_bytes(mask),
                bandwidth,
                arguments.cpu_time,
            )
        )
    print_json(memory_of_50_megapixels())


def largest_error(generated: Image, photo: Image, mask: Bool) -> float:
    """Largest error of the correction in grey levels; refuses to go on above half a level."""
    correction, _ = poisson_correction(generated, photo, mask)
    error = float(np.abs(correction - direct_solve(generated, photo, mask)).max())
    if error > 0.5:
        raise SystemExit(f"The error against the direct solve is {error:.3f} levels, over 0.5.")
    return error


def clone(generated: Image, photo: Image, mask: Bool) -> Callable[[], object]:
    ys, xs = np.nonzero(mask)
    cut = (slice(ys.min() - 2, ys.max() + 3), slice(xs.min() - 2, xs.max() + 3))
    source = np.ascontiguousarray(generated[cut])
    bytes_mask = np.ascontiguousarray(mask[cut]).astype(np.uint8) * 255
    centre = (int(xs.min() + xs.max() + 1) // 2, int(ys.min() + ys.max() + 1) // 2)
    # The function erodes the mask that it is given, so each call gets a copy.
    return lambda: cv2.seamlessClone(source, photo, bytes_mask.copy(), centre, cv2.NORMAL_CLONE)


def detail_blender(generated: Image, photo: Image, mask: Bool) -> Callable[[], object]:
    inside = mask.astype(np.uint8) * 255
    first, second = generated.astype(np.int16), photo.astype(np.int16)

    def run() -> None:
        blender = cv2.detail_MultiBandBlender(0, 2)
        blender.prepare((0, 0, SIDE, SIDE))
        blender.feed(first, inside, (0, 0))
        blender.feed(second, 255 - inside, (0, 0))
        blender.blend(None, None)

    return run


def workspace_bytes(mask: Bool) -> int:
    x0, y0, x1, y1 = _C.mask_bounds(mask.view(np.uint8))
    return _C.poisson_workspace_bytes(x1 - x0 + 2, y1 - y0 + 2)


def multiband_bytes(mask: Bool) -> int:
    x0, y0, x1, y1 = _C.mask_bounds(mask.view(np.uint8))
    return _C.multiband_workspace_bytes(x1 - x0 + 32, y1 - y0 + 32, 2)


def compare(
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    size: int,
    bandwidth: float,
    cpu_time: bool,
) -> dict[str, object]:
    """Both programs by turns, so that a busy neighbour hurts both."""
    pairs = [
        tuple(measure(f, samples=3, patience_s=4, cpu_time=cpu_time).best_s for f in (ours, theirs))
        for _ in range(3)
    ]
    mine, other = (min(column) for column in zip(*pairs, strict=True))
    return {
        "name": name,
        "ours_ms": round(mine * 1e3, 2),
        "opencv_ms": round(other * 1e3, 2),
        "ratio": round(other / mine, 2),
        "workspace_mb": round(size / 1e6, 1),
        "workspace_copies": round(mine * bandwidth / (2 * size), 1),
    }


def memory_of_50_megapixels() -> dict[str, object]:
    """Peak of a face of 1500 x 1200 in a photo of 8192 x 6144, blended in place through a box."""
    photo = np.full((6144, 8192, 3), 120, np.uint8)
    generated, _ = pictures(1540, 1240)
    mask = ellipse(1540, 1240, 770, 620, 750, 600)
    tracemalloc.start()
    blend(generated, photo, mask, box=(3000, 2000, 4240, 3540), out=photo, screening=1e-4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "name": "poisson 1500x1200 in 50 Mpx, in place",
        "peak_extra_mb": round(peak / 1e6, 1),
        "process_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1),
    }


if __name__ == "__main__":
    main()
