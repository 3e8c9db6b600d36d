import json

import numpy as np
import pytest
from fake_anonymizer import FakeAnonymizer
from PIL import Image

from vera import contract
from vera.anonymizer import Result
from vera.demo import astronaut, photograph, run_demo, synthetic_pairs
from vera.errors import RefusedError
from vera.report import BundleReport, PhotoReport

_VARYING = {
    *contract.COARSE_ROWS,
    contract.shape_row(contract.CLASSES.index("mouth")),
    contract.texture_row(contract.CLASSES.index("mouth")),
    contract.high_level_row("expression"),
    contract.high_level_row("pose"),
}


class FlatEngines:
    """A generator of faces of one colour; remembers the latents."""

    def __init__(self, labels: np.ndarray) -> None:
        classes = np.arange(contract.CLASS_COUNT)[:, None, None]
        self._segmentation = (classes == labels[::2, ::2]).astype(np.float32) * 8
        self.latents: list[np.ndarray] = []

    def run(self, name, *, latent):
        assert name == "generator"
        self.latents.append(latent)
        colour = np.tanh(latent.mean(1)[:, :3])[:, :, None, None]
        image = np.broadcast_to(colour, (len(latent), 3, 256, 256)).astype(np.float32)
        return {"image": image, "segmentation": np.stack([self._segmentation] * len(latent))}


@pytest.fixture
def engines(fakes):
    return FlatEngines(fakes.labels)


def run(engines, bundle, out, anonymizer=None):
    said = []
    shown = run_demo(
        anonymizer or FakeAnonymizer(), engines, bundle.identities, out, seed=1, say=said.append
    )
    return shown, said


def test_demo_writes_a_portrait_a_pair_and_their_reports(engines, fake_bundle, tmp_path):
    shown, said = run(engines, fake_bundle, tmp_path / "demo")
    names = {path.name for path in (tmp_path / "demo").iterdir()}
    assert names == {"overview.png"} | {
        f"{stem}{ending}"
        for stem in ("portrait", "pair_before", "pair_after")
        for ending in (".png", "_anonymized.png", "_report.json")
    }
    assert len(said) == 2
    assert [item.original.stem for item in shown] == ["portrait", "pair_before", "pair_after"]
    assert json.loads(shown[1].report.read_text())["mode"] == "paired"


def test_overview_shows_originals_above_and_results_below(engines, fake_bundle, tmp_path):
    shown, _ = run(engines, fake_bundle, tmp_path)
    overview = np.asarray(Image.open(tmp_path / "overview.png"))
    assert overview.shape == (1024, 1536, 3)
    assert (overview[:512, :512] == np.asarray(Image.open(shown[0].original))).all()
    assert (overview[512:, 1024:] == np.asarray(Image.open(shown[2].anonymized))).all()


def test_portrait_is_scikit_image_s_file_unchanged(engines, fake_bundle, tmp_path):
    shown, _ = run(engines, fake_bundle, tmp_path)
    assert shown[0].original.read_bytes() == astronaut().read_bytes()


def test_mouth_is_kept_and_the_pair_is_one_case(engines, fake_bundle, tmp_path):
    anonymizer = FakeAnonymizer()
    run(engines, fake_bundle, tmp_path, anonymizer)
    assert [call["keep"] for call in anonymizer.calls] == [["mouth"], ["mouth", "mouth"]]


def test_pair_is_one_person_who_differs_in_expression_pose_and_mouth_only(engines, fake_bundle):
    next(synthetic_pairs(engines, fake_bundle.identities, 1))
    before, after = engines.latents[0]
    differing = {row for row in range(contract.LATENT_ROWS) if (before[row] != after[row]).any()}
    assert differing == _VARYING


def test_same_seed_draws_the_same_pair_and_another_seed_another(engines, fake_bundle):
    first, again, other = (
        next(synthetic_pairs(engines, fake_bundle.identities, seed))[0] for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_background_of_the_generator_becomes_a_wall(fakes):
    image = np.ones((3, 256, 256), np.float32)
    nobody = np.zeros((13, 128, 128), np.float32)
    nobody[0] = 50
    wall = photograph(image, nobody)
    somebody = np.zeros((13, 128, 128), np.float32)
    somebody[1, 40:90, 40:90] = 50
    somebody[0] = 25
    assert wall.shape == (512, 512, 3)
    assert np.ptp(wall, axis=1).max() == 0  # nothing but the wall's own shading
    assert photograph(image, somebody)[320, 256].tolist() == [255, 255, 255]


class Choosy(FakeAnonymizer):
    """Refuses the first ``refusals`` pairs."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self._refusals = refusals

    def anonymize(self, photos, **options):
        results = super().anonymize(photos, **options)
        if len(photos) == 2 and len(self.calls) <= 1 + self._refusals:
            bundle = BundleReport("fake", "0", {})
            refused = PhotoReport("refused", "paired", 1, bundle, "no-face", "No face was found.")
            return [results[0], Result(None, refused)]
        return results


def test_next_person_is_drawn_when_one_is_refused(engines, fake_bundle, tmp_path):
    shown, _ = run(engines, fake_bundle, tmp_path, Choosy(2))
    assert all(item.anonymized for item in shown)
    assert len(engines.latents) == 3


def test_demo_gives_up_with_a_sentence(engines, fake_bundle, tmp_path):
    with pytest.raises(RefusedError, match="None of 8 synthetic people"):
        run(engines, fake_bundle, tmp_path, Choosy(99))
