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

# Sizes that are the same in every bundle. All masks and their tolerances live in crop pixels.
CROP_SIZE = 256  # aligned crop on the FFHQ template: part maps, masks, fitting
EMBEDDER_SIZE = 112  # ArcFace template
ATTRIBUTES_SIZE = 128  # loosely aligned crop

# Latents W+ [n, 32, d]. Rows 0..27 as in SemanticStyleGAN (2 coarse rows, then shape and texture
# of each class); rows 28..31 are the high-level codes of the dual latent space.
LATENT_ROWS = 2 + 2 * CLASS_COUNT + 4
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


@dataclass(frozen=True, slots=True)
class Layout:
    """The sizes in which bundles differ; the defaults are those of VerA's own networks.

    Attributes:
        image: Side of the generator's picture, which the inversion compares with the photograph:
            ``CROP_SIZE`` times or divided by a power of two.
        segmentation: Side of the generator's fine part map.
        coarse: Side of the part generators' grid: pseudo-depths.
        latent_width: Width d of a latent row.
        parser: Side of the parser's input and output; the crop is resampled for it.
        embedding: Width of an identity embedding.
        perceptual_taps: Channels and side of each perceptual feature map.
        temperature: Divides the generator's part map before the softmax: 1 for logits, 0.2 for a
            generator trained towards +-1.
    """

    image: int = CROP_SIZE
    segmentation: int = 128
    coarse: int = 32
    latent_width: int = 64
    parser: int = CROP_SIZE
    embedding: int = 128
    perceptual_taps: tuple[tuple[int, int], ...] = ((32, 128), (48, 64), (96, 32), (128, 16))
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Refuse sizes that no resampling of ours can serve."""
        tap_sides = (side for _, side in self.perceptual_taps)
        sides = (self.image, self.segmentation, self.coarse, self.parser, *tap_sides)
        widths = (self.latent_width, self.embedding, *(c for c, _ in self.perceptual_taps))
        odd = [side for side in sides if side < 1 or side & (side - 1)]
        if odd or min(widths) < 1 or not 0 < self.temperature < float("inf"):
            raise ValueError(
                "a layout needs sides that are powers of two, positive widths and a positive "
                f"temperature, got {self}"
            )


DEFAULT = Layout()
SEGMENTATION_SIZE = DEFAULT.segmentation
COARSE_SIZE = DEFAULT.coarse
LATENT_WIDTH = DEFAULT.latent_width
PERCEPTUAL_TAPS = DEFAULT.perceptual_taps

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


def _crop(side: int) -> TensorSpec:
    return _f32("crop", None, 3, side, side)  # RGB in [-1, 1]


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
REFINER = EngineSpec(
    "refiner",
    (
        _f32("image", None, 3, CROP_SIZE, CROP_SIZE),  # RGB in [-1, 1], the composed crop
        _f32("mask", None, 1, CROP_SIZE, CROP_SIZE),  # 1 = generated, 0 = photograph
    ),
    # RGB, about [-1, 1]; the bilinear enlargement of the image where the enlarged mask is 0
    (_f32("refined", None, 3, 2 * CROP_SIZE, 2 * CROP_SIZE),),
    _FP32,
)


def engines(layout: Layout = DEFAULT) -> dict[str, EngineSpec]:
    """The engines of a bundle of this layout by name."""
    specs = (
        DETECTOR,
        *_descriptions(layout),
        ATTRIBUTES,
        *_inversion(layout),
        REFINER,
        _guide(layout),
    )
    return {spec.name: spec for spec in specs}


def _descriptions(layout: Layout) -> tuple[EngineSpec, ...]:
    """What a face consists of, and whose it is."""
    side = layout.parser
    # RGB in [-1, 1], ArcFace five-point crop
    face = _f32("face", None, 3, EMBEDDER_SIZE, EMBEDDER_SIZE)
    embedding = _f32("embedding", None, layout.embedding)  # unit length
    return (
        EngineSpec(
            "parser", (_crop(side),), (_f32("logits", None, CLASS_COUNT, side, side),), _FP32
        ),
        EngineSpec("embedder", (face,), (embedding,), _FP32),
    )


def _inversion(layout: Layout) -> tuple[EngineSpec, ...]:
    """The generator, its gradient, and what starts and guides the inversion."""
    fine, coarse, side = layout.segmentation, layout.coarse, layout.image
    latent = _f32("latent", None, LATENT_ROWS, layout.latent_width)
    image = _f32("image", None, 3, side, side)  # RGB, about [-1, 1]
    segmentation = _f32("segmentation", None, CLASS_COUNT, fine, fine)  # logits, see temperature
    # pseudo-depths: logits of the coarse masks
    depth = _f32("depth", None, CLASS_COUNT, coarse, coarse)
    taps = enumerate(layout.perceptual_taps)
    features = tuple(_f32(f"feature_{i}", None, c, s, s) for i, (c, s) in taps)
    labels = _f32("labels", None, CLASS_COUNT, fine, fine)  # one-hot part map
    forward = (image, segmentation, depth, *features)
    grads = tuple(TensorSpec(f"grad_{t.name}", t.dtype, t.shape) for t in forward)
    grad_latent = TensorSpec("grad_latent", latent.dtype, latent.shape)
    return (
        EngineSpec("encoder", (_crop(side), labels), (latent,), _FP32),
        EngineSpec("perceptual", (_crop(side),), features, _FP32),  # target features of a photo
        EngineSpec("generator", (latent,), (image, segmentation), _FP32),
        EngineSpec("generator_forward", (latent,), forward, _FP32, saved=True),
        EngineSpec("generator_backward", grads, (grad_latent,), _FP32, saved=True),
    )


def _guide(layout: Layout) -> EngineSpec:
    """Likeness and attributes of a picture, each with its gradient, for ``identity.margin``."""
    side = layout.image
    image = _f32("image", None, 3, side, side)  # RGB in [-1, 1], on the FFHQ template
    targets = [t for t in ATTRIBUTES.outputs if t.name in GUIDED]  # what the picture should show
    return EngineSpec(
        "guide",
        (image, _f32("embedding", None, layout.embedding), *targets),  # the original's, unit length
        (
            _f32("cosine", None),  # of the embeddings of picture and original
            _f32("grad_cosine", *image.shape),
            _f32("attribute_loss", None),  # 0: as wanted; 1/2: each off by its GUIDED unit
            _f32("grad_attributes", *image.shape),
        ),
        Tolerance(1e-4, 1e-4, "values as any fp32 engine; gradients: vera_export.parity_guide"),
    )


# Attributes that the guide preserves, and the difference of each that counts as one.
GUIDED = {"pose": 10.0, "expression": 0.25, "mouth_open": 0.1, "age": 10.0}

# Engines that a bundle may lack. Without an encoder the inversion starts at the mean latent,
# without a refiner the generated face is composed as it is, and without a guide people can only be
# drawn.
OPTIONAL = frozenset({"encoder", "refiner", "guide"})

ENGINES = engines()
PARSER = ENGINES["parser"]
EMBEDDER = ENGINES["embedder"]
ENCODER = ENGINES["encoder"]
PERCEPTUAL = ENGINES["perceptual"]
GENERATOR = ENGINES["generator"]
GENERATOR_FORWARD = ENGINES["generator_forward"]
GENERATOR_BACKWARD = ENGINES["generator_backward"]
