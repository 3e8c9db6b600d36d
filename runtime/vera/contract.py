"""The contract: names, dtypes, shapes and tolerances of every engine; layout of the latents.

Export, runtime and server configurations derive from this table; nothing in it is typed a second
time. Fixed letters: n batch, c channels, h w space, k latent rows, d latent width.
"""

from dataclasses import dataclass

CONTRACT_VERSION = 1

# The 13 classes of SemanticStyleGAN, in its order (names from its visualize/generate_video.py).
CLASSES = (
    "background",
    "skin",
    "eye",
    "brow",
    "mouth",
    "nose",
    "ear",
    "hair",
    "neck",
    "cloth",
    "glasses",
    "hat",
    "earring",
)
CLASS_COUNT = len(CLASSES)

CROP_SIZE = 256  # aligned crop on the FFHQ template: parser, encoder, generator
SEGMENTATION_SIZE = 128  # the generator's fine part map
COARSE_SIZE = 32  # the part generators' grid: pseudo-depths
EMBEDDER_SIZE = 112  # ArcFace template
ATTRIBUTES_SIZE = 128  # loosely aligned crop

# Latents W+ [n, 32, 64]. Rows 0..27 as in SemanticStyleGAN (2 coarse rows, then shape and texture
# of each class); rows 28..31 are the high-level codes of the dual latent space.
LATENT_ROWS = 2 + 2 * CLASS_COUNT + 4
LATENT_WIDTH = 64
COARSE_ROWS = (0, 1)
HIGH_LEVEL = ("identity", "expression", "pose", "age")


def shape_row(part: int) -> int:
    """Row of the shape code of class ``part``."""
    return 2 + 2 * part


def texture_row(part: int) -> int:
    """Row of the texture code of class ``part``."""
    return 3 + 2 * part


def high_level_row(name: str) -> int:
    """Row of a high-level code: identity, expression, pose or age."""
    return 2 + 2 * CLASS_COUNT + HIGH_LEVEL.index(name)


# Perceptual features of the inversion: channels and side of each tap, computed from the image
# pooled to 128 px.
PERCEPTUAL_TAPS = ((32, 128), (48, 64), (96, 32), (128, 16))

EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of an engine. ``None`` in ``shape`` is a dynamic axis."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Largest allowed difference to the source model: ``absolute + relative * max|reference|``."""

    absolute: float
    relative: float
    why: str


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One engine; ``saved`` ones carry further tensors whose names the export chooses."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tolerance: Tolerance
    saved: bool = False


def _f32(name: str, *shape: int | None) -> TensorSpec:
    return TensorSpec(name, "float32", shape)


_FP32 = Tolerance(1e-4, 1e-4, "fp32 engine: other summation order than torch")

_LATENT = _f32("latent", None, LATENT_ROWS, LATENT_WIDTH)
_CROP = _f32("crop", None, 3, CROP_SIZE, CROP_SIZE)  # RGB in [-1, 1]
_IMAGE = _f32("image", None, 3, CROP_SIZE, CROP_SIZE)  # RGB, about [-1, 1]
_SEGMENTATION = _f32(
    "segmentation", None, CLASS_COUNT, SEGMENTATION_SIZE, SEGMENTATION_SIZE
)  # logits
_DEPTH = _f32(
    "depth", None, CLASS_COUNT, COARSE_SIZE, COARSE_SIZE
)  # pseudo-depths: logits of the coarse masks
_FEATURES = tuple(_f32(f"feature_{i}", None, c, s, s) for i, (c, s) in enumerate(PERCEPTUAL_TAPS))

DETECTOR = EngineSpec(
    "detector",
    # RGB in [-1, 1]; height and width are multiples of 32.
    (_f32("photo", None, 3, None, None),),
    # One candidate per stride-8 cell, row by row: score in [0, 1]; box x1 y1 x2 y2 and points x y
    # in pixels of the input. Points: image-left eye, image-right eye, nose tip, image-left and
    # image-right mouth corner.
    (_f32("scores", None, None), _f32("boxes", None, None, 4), _f32("points", None, None, 5, 2)),
    _FP32,
)
PARSER = EngineSpec(
    "parser", (_CROP,), (_f32("logits", None, CLASS_COUNT, CROP_SIZE, CROP_SIZE),), _FP32
)
EMBEDDER = EngineSpec(
    "embedder",
    (
        _f32("face", None, 3, EMBEDDER_SIZE, EMBEDDER_SIZE),
    ),  # RGB in [-1, 1], ArcFace five-point crop
    (_f32("embedding", None, 128),),  # unit length
    _FP32,
)
ATTRIBUTES = EngineSpec(
    "attributes",
    (
        _f32("face", None, 3, ATTRIBUTES_SIZE, ATTRIBUTES_SIZE),
    ),  # RGB in [-1, 1], roughly on the FFHQ template
    (
        _f32("pose", None, 3),  # yaw, pitch, roll in degrees
        _f32("expression", None, len(EXPRESSIONS)),  # probabilities in the order of EXPRESSIONS
        _f32("mouth_open", None, 1),  # inner lip gap / mouth width
        _f32("age", None, 1),  # years
        _f32(
            "female", None, 1
        ),  # score in [0, 1]; used only to draw a plausible donor, never reported
        _f32("points", None, 5, 2),  # the five points, in pixels of the input
    ),
    _FP32,
)
ENCODER = EngineSpec(
    "encoder",
    (
        _CROP,
        _f32("labels", None, CLASS_COUNT, SEGMENTATION_SIZE, SEGMENTATION_SIZE),
    ),  # one-hot part map
    (_LATENT,),
    _FP32,
)
PERCEPTUAL = EngineSpec("perceptual", (_CROP,), _FEATURES, _FP32)  # target features of a photograph
GENERATOR = EngineSpec("generator", (_LATENT,), (_IMAGE, _SEGMENTATION), _FP32)
GENERATOR_FORWARD = EngineSpec(
    "generator_forward", (_LATENT,), (_IMAGE, _SEGMENTATION, _DEPTH, *_FEATURES), _FP32, saved=True
)
GENERATOR_BACKWARD = EngineSpec(
    "generator_backward",
    tuple(
        TensorSpec(f"grad_{t.name}", t.dtype, t.shape)
        for t in (_IMAGE, _SEGMENTATION, _DEPTH, *_FEATURES)
    ),
    (_f32("grad_latent", None, LATENT_ROWS, LATENT_WIDTH),),
    _FP32,
    saved=True,
)

ENGINES = {
    spec.name: spec
    for spec in (
        DETECTOR,
        PARSER,
        EMBEDDER,
        ATTRIBUTES,
        ENCODER,
        PERCEPTUAL,
        GENERATOR,
        GENERATOR_FORWARD,
        GENERATOR_BACKWARD,
    )
}
