from dataclasses import replace

import numpy as np
import pytest

from vera import contract
from vera.bundle import load_bundle
from vera.errors import EngineError, UsageError
from vera.face.appearance import Appearance
from vera.face.faces import find_faces
from vera.identity.guided import View
from vera.identity.margin import (
    CIRCLE,
    NEIGHBOURS,
    STARTS,
    TRUNCATION,
    movable,
    move_identity,
    nearest,
    propose_moved,
)
from vera.identity.margin_loss import MarginConfig, Objective, band, differences
from vera.identity.redraw import IDENTITY_PARTS, replaced_rows
from vera.region.subject import Subject
from vera.settings import Settings

_MOUTH = contract.CLASSES.index("mouth")
_IDENTITY = contract.high_level_row("identity")
FAR = MarginConfig(high=-0.5, low=-0.9, steps=4)
STILL = replace(FAR, steps=0)


@pytest.fixture
def bank(fake_bundle):
    return fake_bundle.identities


@pytest.fixture
def subject(fakes, fake_engines):
    photo = fakes.draw_photo()
    face = find_faces(photo, fake_engines)[0][0]
    return Subject(photo, face, np.zeros(photo.shape[:2], bool))


@pytest.fixture
def wanted(bank):
    expression = bank.codes[3, contract.high_level_row("expression")]
    like = (bank.skin[3], bank.female[3], bank.age[3], bank.yaw[3], expression)
    return Appearance(*like, bank.embedding[3])


def _latents(count=1):
    shape = (count, contract.LATENT_ROWS, contract.LATENT_WIDTH)
    return np.random.default_rng(2).normal(0, 0.3, shape).astype(np.float32)


def _case(subjects, settings=None):
    latents = _latents(len(subjects))
    return movable(subjects, latents, IDENTITY_PARTS, settings or Settings())


def _move(case, bank, engines, config=FAR):
    return move_identity(case, bank.codes[0], bank.codes, engines, config)


@pytest.mark.parametrize(
    ("cosine", "value", "slope"),
    [(0.2, 0.0, 0.0), (0.0, 0.0, 0.0), (0.4, 0.0, 0.0), (0.7, 0.09, 0.6), (-0.2, 0.04, -0.4)],
)
def test_a_cosine_inside_the_band_costs_nothing_and_outside_its_squared_distance(
    cosine, value, slope
):
    assert band(cosine, 0.0, 0.4) == pytest.approx((value, slope))


@pytest.mark.parametrize("cosine", [-0.6, 0.1, 0.9])
def test_slope_of_the_band_is_its_derivative(cosine):
    ahead, behind = (band(cosine + step, 0.0, 0.4)[0] for step in (1e-6, -1e-6))
    assert band(cosine, 0.0, 0.4)[1] == pytest.approx((ahead - behind) / 2e-6, abs=1e-6)


def test_a_band_upside_down_is_refused():
    with pytest.raises(UsageError, match="choose low below high"):
        MarginConfig(high=0.0, low=0.1)


def test_likeness_falls_and_only_the_codes_of_the_identity_change(subject, bank, fake_engines):
    case = _case([subject])
    moved = _move(case, bank, fake_engines)
    assert moved.report.steps == 4
    assert moved.report.cosine_after < moved.report.cosine_before - 0.02
    changed = (moved.latents[0] != case.latents[0]).any(1)
    assert np.flatnonzero(changed).tolist() == sorted(replaced_rows())
    others = [row for row in range(contract.LATENT_ROWS) if row not in replaced_rows()]
    assert np.array_equal(moved.identity[others], bank.codes[0, others])


def test_same_arguments_give_the_same_person(subject, bank, fake_engines):
    config = replace(FAR, steps=2)
    first, second = (_move(_case([subject]), bank, fake_engines, config) for _ in range(2))
    assert np.array_equal(first.identity, second.identity)
    assert first.report == second.report


def test_inside_the_band_nobody_is_moved(subject, bank, fake_engines):
    config = MarginConfig(high=1.0, low=-1.0, attributes=0.0, steps=3)
    moved = _move(_case([subject]), bank, fake_engines, config)
    assert np.array_equal(moved.identity, bank.codes[0])
    assert moved.report.cosine_after == moved.report.cosine_before


def test_the_pull_towards_the_start_shortens_the_way(subject, bank, fake_engines):
    free, pulled = (
        _move(_case([subject]), bank, fake_engines, replace(FAR, steps=6, regulariser=weight))
        for weight in (0.0, 100.0)
    )
    ways = [np.abs(moved.identity - bank.codes[0]).sum() for moved in (free, pulled)]
    assert ways[1] < 0.5 * ways[0]


def test_photographs_of_one_person_get_one_new_person(fakes, subject, bank, fake_engines):
    photo = fakes.draw_photo(1)
    other = Subject(photo, find_faces(photo, fake_engines)[0][0], subject.kept, (_MOUTH,))
    case = _case([subject, other])
    moved = _move(case, bank, fake_engines)
    assert np.array_equal(moved.latents[0, _IDENTITY], moved.latents[1, _IDENTITY])
    nose = contract.shape_row(contract.CLASSES.index("nose"))
    np.testing.assert_allclose(
        moved.latents[0, nose] - moved.latents[1, nose],
        case.latents[0, nose] - case.latents[1, nose],
        atol=1e-5,
    )
    mouth = [contract.shape_row(_MOUTH), contract.texture_row(_MOUTH)]
    assert np.array_equal(moved.latents[1, mouth], case.latents[1, mouth])


def test_gradient_of_the_view_is_that_of_the_face_in_its_photograph(subject, fake_engines):
    subject.kept[140:160] = True
    view, latent = View(subject, fake_engines), _latents()
    picture = fake_engines.render(latent)["image"]
    view.fit(latent, picture)
    told = view.guidance(picture)
    direction = np.random.default_rng(4).normal(size=picture.shape).astype(np.float32)
    for name in ("cosine", "attributes"):
        step = np.float32(1e-2)
        ahead, behind = (view.guidance(picture + s * direction) for s in (step, -step))
        slope = (getattr(ahead, name) - getattr(behind, name)) / (2 * step)
        grad = getattr(told, f"grad_{name}")
        assert slope == pytest.approx(float((grad * direction).sum()), rel=0.02, abs=1e-6)
    assert not told.grad_cosine[..., :2, :].any()  # the crop's rim is the photograph


def test_gradient_of_the_loss_is_that_of_the_whole_way(fakes, subject, bank, fake_engines):
    photo = fakes.draw_photo(1)
    other = Subject(photo, find_faces(photo, fake_engines)[0][0], subject.kept, (_MOUTH,))
    case = _case([subject, other])
    basis = differences(bank.codes[:, case.all_rows], 3)
    objective = Objective(case, bank.codes[0], basis, fake_engines, FAR)
    places = np.zeros((1, 1, 3), np.float32)
    grad = objective.evaluate(places, fit=True)[1]
    for k in range(3):
        step = np.zeros_like(places)
        step[..., k] = 0.02
        ahead, behind = (objective.evaluate(s * step, fit=False)[0].loss for s in (1, -1))
        assert (ahead - behind) / 0.04 == pytest.approx(grad[0, 0, k], rel=0.03, abs=2e-3)


def test_a_start_that_is_fitted_is_seen_as_it_will_be_composed(subject, fake_engines):
    subject.kept[...] = True
    view, latent = View(subject, fake_engines), _latents()
    view.fit(latent, fake_engines.render(latent)["image"])
    told = view.guidance(fake_engines.render(latent)["image"])
    assert told.cosine == pytest.approx(1, abs=0.02)  # all is kept: the photograph itself
    assert not told.grad_cosine.any()


def test_what_is_not_preserved_is_not_held_to_the_original(subject, fake_engines, bank):
    read = []
    fake_engines.overrides["attributes"] = lambda face: (
        fake_engines._attributes(face) | {"age": face.mean(keepdims=True)[0, 0]}
    )
    fake_engines.overrides["guide"] = lambda **inputs: (
        read.append(float(inputs["age"][0, 0])) or fake_engines._guide(**inputs)
    )
    for settings in (Settings(), Settings(preserve=("expression",))):
        _move(_case([subject], settings), bank, fake_engines, STILL)
    assert read[0] != read[1]


def test_a_gradient_that_is_not_finite_ends_it(subject, bank, fake_engines):
    def broken(**inputs):
        told = fake_engines._guide(**inputs)
        return told | {"grad_cosine": told["grad_cosine"] * np.float32("nan")}

    fake_engines.overrides["guide"] = broken
    with pytest.raises(EngineError, match="not finite"):
        _move(_case([subject]), bank, fake_engines)


def test_nearest_neighbours_fit_the_head_whoever_they_resemble(bank, wanted):
    bank.codes[3] *= 0.5  # not unusual
    assert nearest(bank, wanted, 1).tolist() == [3]


def test_people_with_unusual_codes_are_no_neighbours(bank, wanted):
    bank.codes[3] *= 0.5
    bank.codes[3, contract.texture_row(_MOUTH)] += 30
    found = nearest(bank, wanted, len(bank.codes))
    assert 3 not in found
    assert len(found) == round(len(bank.codes) * 2 / 3)


def test_differences_are_the_people_s_own_standard_deviations():
    random = np.random.default_rng(0)
    people = np.zeros((400, 2, 3), np.float32)
    people[:, 0, 1], people[:, 1, 2] = random.normal(5, 3, 400), random.normal(0, 1, 400)
    found = differences(people, 2)
    np.testing.assert_allclose(np.abs(found[0]), [0, 3, 0, 0, 0, 0], atol=0.4)
    np.testing.assert_allclose(np.abs(found[1]), [0, 0, 0, 0, 0, 1], atol=0.4)
    assert np.dot(*found) == pytest.approx(0, abs=1e-4)


def test_the_seed_picks_the_start_among_the_nearest(subject, fake_bundle, fake_engines):
    case = _case([subject])

    def first(seed):
        return next(propose_moved(case, fake_bundle, fake_engines, (seed,), None, STILL))

    proposals = [first(seed) for seed in (1, 1, 2, 3)]
    people = [proposal.identity for proposal in proposals]
    assert np.array_equal(people[0], people[1])
    assert len({person.tobytes() for person in people}) > 1
    codes = fake_bundle.identities.codes
    near = codes[nearest(fake_bundle.identities, case.wanted, CIRCLE)]
    starts = near.mean(0) + TRUNCATION * (near[:NEIGHBOURS] - near.mean(0))
    assert all(np.isclose(starts, person, atol=1e-5).all((1, 2)).any() for person in people)
    assert proposals[0].rows == tuple(replaced_rows())


def test_proposals_end(subject, fake_bundle, fake_engines):
    done = []
    case, config = _case([subject]), replace(FAR, steps=1)
    proposals = list(propose_moved(case, fake_bundle, fake_engines, (1,), done.append, config))
    assert len({proposal.identity.tobytes() for proposal in proposals}) == STARTS
    assert done == [0.5, 1.0] * STARTS


def test_the_band_of_a_bundle_ends_below_its_gate(fake_bundle):
    config = MarginConfig.suited(fake_bundle)
    assert -fake_bundle.gate.cosine_threshold < config.low < 0 < config.high < 0.4


def test_a_bundle_without_a_guide_is_refused_by_name(fakes, subject, tmp_path):
    engines = {n: {"file": f"{n}.onnx"} for n in contract.ENGINES if n != "guide"}
    bundle = load_bundle(fakes.write_bundle(tmp_path / "bundle", engines=engines))
    with pytest.raises(UsageError, match=r"bundle fake has no engine guide.*--method draw"):
        next(propose_moved(_case([subject]), bundle, None, (1,)))
