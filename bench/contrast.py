"""What the contrast of the high-level codes changes: folders of weights side by side.

    python bench/contrast.py --data FACES --teachers TEACHERS WITH WITHOUT

Each folder holds generator, encoder and mapping .safetensors. Of the same held-out faces, one
high-level code at a time is replaced by another face's, and the teachers say what moved; 1 is the
mean difference of two people. Also PSNR of the reconstructions, which the contrast must not cost.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from vera import contract
from vera_export.evaluation import samples
from vera_export.evaluation.disentanglement import changes, typical_differences
from vera_export.evaluation.readings import Teachers
from vera_export.training.dataset import read_faces
from vera_export.training.networks import Networks, load_folder


class TorchEngines:
    """Encoder and generator of a folder of weights, called like engines."""

    def __init__(self, folder: Path) -> None:
        self.nets = Networks().eval()
        load_folder(self.nets, folder)

    @torch.no_grad()
    def run(self, name: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        values = [torch.from_numpy(value) for value in inputs.values()]
        if name == "encoder":
            return {"latent": self.nets.encoder(*values).numpy()}
        image, segmentation, _ = self.nets.generator(*values)
        return {"image": image.numpy(), "segmentation": segmentation.numpy()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="folders of weights")
    parser.add_argument("--data", type=Path, required=True, help="folder of aligned faces")
    parser.add_argument("--teachers", type=Path, required=True, help="folder of teacher networks")
    parser.add_argument("--faces", type=int, default=64, help="held-out faces (default: 64)")
    arguments = parser.parse_args()
    faces, teachers = read_faces(arguments.data, with_labels=True), Teachers(arguments.teachers)
    rows = faces.val[: arguments.faces]
    real = teachers.read(faces.images[rows])
    typical = typical_differences(real, 0)
    print(f"{len(rows)} held-out faces; columns: how far each attribute moves")
    print(f"{'folder':>14} {'code':>11}  " + "  ".join(f"{n:>10}" for n in contract.HIGH_LEVEL))
    figures = {}
    for folder in arguments.folders:
        engines = TorchEngines(folder)
        latents = samples.encode(faces, rows, engines)
        start = samples.render(latents, engines)
        error = np.square(start.images.astype(np.float64) - faces.images[rows]).mean((1, 2, 3))
        before = teachers.read(start.images)
        matrix = {}
        for code, exchanged in samples.exchanges(latents, np.roll(latents, 1, 0)):
            after = teachers.read(samples.render(exchanged, engines).images)
            matrix[code] = changes(before, after, typical)
            cells = "  ".join(f"{matrix[code][name]:10.3f}" for name in contract.HIGH_LEVEL)
            print(f"{folder.name[:14]:>14} {code:>11}  {cells}", flush=True)
        psnr = float(np.mean(10 * np.log10(255**2 / error)))
        print(f"{folder.name[:14]:>14} reconstructions {psnr:.2f} dB")
        figures[folder.name] = {"matrix": matrix, "psnr_db": psnr}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
