"""Fréchet distance of two sets of images on VerA's own perceptual features.

The formula is that of Heusel 2017 (arXiv 1706.08500, eq. 6); the features are not Inception's, so
the figure is no FID and must not be compared with one.
"""

import numpy as np
import numpy.typing as npt

from vera.engines import Engines
from vera.evaluation import frechet
from vera.evaluation.frechet import Gaussian, frechet_distance

Float = npt.NDArray[np.float64]


def pooled_features(images: npt.NDArray[np.uint8], engines: Engines) -> Float:
    """Spatial means of every perceptual feature map, float64 [n, 304].

    Args:
        images: uint8 [n, 256, 256, 3].
        engines: Runs ``perceptual``.
    """
    return np.stack([frechet.pooled_features(image, engines) for image in images])


def frechet_figures(
    samples: Float, held_out: Float, first: Float, second: Float
) -> dict[str, float | int]:
    """Distances of samples to real images, beside those of real images to each other.

    The distance of few images is too large by an amount that depends on their number, so a figure
    may only be compared with one of the same number: ``real_*`` is what a perfect generator would
    get.

    Args:
        samples: Features [n, d] of generated images.
        held_out: Features [v, d] of real images that nothing was trained on, v at most n.
        first: Features [n, d] of training images.
        second: Features [n, d] of other training images; they set the scale of each feature, too.
    """
    samples, held_out, first, second = frechet.standardised(
        second, samples, held_out, first, second
    )
    few = min(len(held_out), len(samples), len(first))
    held, other = Gaussian.fitted(held_out[:few]), Gaussian.fitted(second)
    return {
        "features": samples.shape[1],
        "images": len(samples),
        "samples_to_training": frechet_distance(Gaussian.fitted(samples), other),
        "real_halves": frechet_distance(Gaussian.fitted(first), other),
        "images_held_out": few,
        "samples_to_held_out": frechet_distance(Gaussian.fitted(samples[:few]), held),
        "real_to_held_out": frechet_distance(Gaussian.fitted(first[:few]), held),
    }
