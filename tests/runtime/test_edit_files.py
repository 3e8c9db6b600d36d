import json
import stat

import numpy as np
import pytest
from PIL import Image

from vera import contract
from vera.bundle import load_bundle
from vera.editing import load_latents, save_latents
from vera.errors import OutputError, PhotoError, ShapeError
from vera.files.write import write_animation, write_bytes

SHAPE = (contract.LATENT_ROWS, contract.LATENT_WIDTH)
LATENTS = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jane_doe.npz"


def write(path, bundle, **changes):
    """A latents file with some of its entries changed."""
    about = {
        "bundle": bundle.digest,
        "contract": contract.CONTRACT_VERSION,
        "personal": True,
        **changes.pop("about", {}),
    }
    np.savez(path, **{"latents": LATENTS[None], "about": np.array(json.dumps(about)), **changes})


@pytest.mark.parametrize("personal", [True, False])
def test_saved_latents_come_back_as_they_were(path, fake_bundle, personal):
    save_latents(path, LATENTS, fake_bundle, personal=personal)
    latents, told = load_latents(path, fake_bundle)
    assert np.array_equal(latents, LATENTS)
    assert latents.dtype == np.float32
    assert told is personal


def test_saved_latents_are_readable_by_their_owner_alone(path, fake_bundle):
    save_latents(path, LATENTS, fake_bundle, personal=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_latents_of_another_bundle_are_refused(path, fake_bundle, fakes, tmp_path):
    save_latents(path, LATENTS, fake_bundle, personal=False)
    other = load_bundle(fakes.write_bundle(tmp_path / "other", version="1"))
    with pytest.raises(PhotoError, match="made with another bundle"):
        load_latents(path, other)


@pytest.mark.parametrize(
    "changes",
    [
        {"latents": np.full((1, *SHAPE), np.nan, np.float32)},
        {"latents": LATENTS},
        {"latents": LATENTS[None, :, :8]},
        {"latents": LATENTS[None].astype(np.float64)},
    ],
)
def test_latents_of_another_kind_are_refused(path, fake_bundle, changes):
    write(path, fake_bundle, **changes)
    with pytest.raises(PhotoError, match="must hold finite float32 latents"):
        load_latents(path, fake_bundle)


def test_latents_of_another_contract_are_refused(path, fake_bundle):
    write(path, fake_bundle, about={"contract": 99})
    with pytest.raises(PhotoError, match="made for contract 99"):
        load_latents(path, fake_bundle)


@pytest.mark.parametrize(
    "changes",
    [
        {"latents": np.array([{"code": "runs"}], object)},
        {"latents": np.zeros((2048, 1024), np.float32)},
        {"about": np.array("not json")},
    ],
)
def test_a_hostile_file_is_refused_before_it_is_unpacked(path, fake_bundle, changes):
    if isinstance(changes.get("about"), np.ndarray):
        np.savez(path, latents=LATENTS[None], **changes)
    else:
        write(path, fake_bundle, **changes)
    with pytest.raises(PhotoError, match="damaged or no latents file"):
        load_latents(path, fake_bundle)


def test_what_is_no_latents_file_is_told_without_its_name(path, fake_bundle):
    with pytest.raises(PhotoError, match="no latents file at a path") as missing:
        load_latents(path, fake_bundle)
    path.write_bytes(b"PK nothing")
    with pytest.raises(PhotoError, match="damaged or no latents file") as torn:
        load_latents(path, fake_bundle)
    assert "jane" not in str(missing.value) + str(torn.value)


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(OutputError):
        write_bytes(tmp_path / "missing" / "x.npz", b"x")
    assert list(tmp_path.iterdir()) == []


def test_an_animation_is_lossless_repeats_and_is_marked(tmp_path):
    frames = [np.random.default_rng(i).integers(0, 256, (16, 12, 3), np.uint8) for i in range(3)]
    path = tmp_path / "a.webp"
    write_animation(path, frames, frame_ms=40)
    with Image.open(path) as picture:
        assert picture.n_frames == 3
        assert picture.info["loop"] == 0
        for i, frame in enumerate(frames):
            picture.seek(i)
            assert np.array_equal(np.array(picture.convert("RGB")), frame)
    assert b"compositeWithTrainedAlgorithmicMedia" in path.read_bytes()


def test_frames_of_different_sizes_make_no_animation(tmp_path):
    frames = [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)]
    with pytest.raises(ShapeError, match="of one size"):
        write_animation(tmp_path / "a.webp", frames)
    with pytest.raises(ShapeError):
        write_animation(tmp_path / "a.webp", [])
