"""Estimates, thresholds and distances of made-up figures."""

import numpy as np
import pytest

from vera.errors import UsageError
from vera.evaluation.calibration import calibration, threshold_at
from vera.evaluation.frechet import realism, standardised
from vera.evaluation.ledger import Ledger
from vera.evaluation.statistics import estimate
from vera.evaluation.table import Table, shown


def test_copies_of_photographs_do_not_narrow_the_interval():
    values = [(person, float(person % 7)) for person in range(30)]
    once, often = estimate(values), estimate(values * 10)
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    assert (once.count, often.count, often.people) == (30, 300, 30)


def test_the_interval_holds_the_mean_of_all_values():
    found = estimate([(1, 1.0), (1, 2.0), (1, 3.0), (2, 10.0), (3, 4.0)])
    assert found.mean == 4.0
    assert found.low < 4.0 < found.high


def test_a_share_without_failures_gets_the_exact_interval():
    found = estimate([(person, 1.0) for person in range(10)], share=True)
    assert found.low == pytest.approx(0.6915, abs=1e-4)  # Clopper and Pearson, 10 of 10
    assert found.high == 1.0
    assert estimate([(1, 0.0), (2, 0.0)], share=True).high == pytest.approx(0.8419, abs=1e-4)


def test_a_measure_that_is_always_zero_is_no_share():
    found = estimate([(1, 0.0), (2, 0.0)])
    assert (found.low, found.high) == (0.0, 0.0)


def test_one_person_gives_no_interval_and_nobody_no_estimate():
    assert estimate([(1, 0.5), (1, 0.7)]).low is None
    assert estimate([(1, float("nan"))]) is None


@pytest.mark.parametrize(("rate", "threshold"), [(0.0005, 0.9), (0.1, 0.8), (0.35, 0.6)])
def test_threshold_accepts_no_more_impostors_than_wanted(rate, threshold):
    impostors = np.arange(10) / 10
    assert threshold_at(impostors, rate) == pytest.approx(threshold)
    assert (impostors > threshold_at(impostors, rate)).mean() <= rate


def people_of(count: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Two embeddings each of people who lie on different axes."""
    random = np.random.default_rng(0)
    owners = np.repeat(np.arange(count), 2)
    vectors = np.eye(count)[owners] + random.normal(0, spread, (2 * count, count))
    return owners, (vectors / np.linalg.norm(vectors, axis=1)[:, None]).astype(np.float32)


def test_calibration_tells_pairs_and_both_rates():
    found = calibration("judge", *people_of(12, 0.05), 0.01)
    assert (found.genuine_pairs, found.impostor_pairs) == (12, 264)
    assert found.false_accept_rate <= 0.01
    assert found.true_accept.mean == 1.0
    assert not found.coarse
    assert calibration("judge", *people_of(12, 0.05), 0.001).coarse


@pytest.mark.parametrize("owners", [[1, 1, 1], [1, 2, 3], []])
def test_calibration_needs_pairs_of_both_kinds(owners):
    embeddings = np.ones((len(owners), 4), np.float32) / 2
    with pytest.raises(UsageError, match="both are needed"):
        calibration("judge", np.array(owners, int), embeddings, 0.01)


def faces(features, people=None):
    """Features with their people, two faces each."""
    people = range(len(features)) if people is None else people
    return [(person // 2, one) for person, one in zip(people, features, strict=True)]


def test_perfect_outputs_come_to_the_distance_of_the_originals():
    features = np.random.default_rng(1).normal(0, 2, (40, 6))
    found = realism(faces(features), faces(features))
    assert found.distance == found.originals > 0  # halves of few faces differ
    assert found.faces == 20


def test_a_shift_adds_about_its_square_over_the_spread():
    features = np.random.default_rng(1).normal(0, 2, (800, 3))
    shifted = features + features.std(0) * np.array([1.0, 0, 2.0])
    found = realism(faces(features), faces(shifted))
    assert found.distance - found.originals == pytest.approx(5, abs=0.2)


def test_few_outputs_are_compared_with_as_few_originals():
    """Outputs as good as the originals are not told to be worse for being fewer."""
    features = np.random.default_rng(2).normal(0, 1, (200, 6))
    few = realism(faces(features), faces(features[::4], range(0, 200, 4)))
    every = realism(faces(features), faces(features))
    assert few.faces < 30
    assert few.distance > 1.5 * every.distance
    assert few.distance == pytest.approx(few.originals, rel=0.25)


def test_a_copy_of_the_original_is_not_realistic_for_being_near_it():
    """Halves hold different people, so that an output never meets its own original."""
    features = np.random.default_rng(3).normal(0, 1, (40, 12))
    assert realism(faces(features), faces(features)).distance > 1


def test_a_handful_of_faces_has_no_frechet_distance():
    assert realism(faces(np.ones((4, 2))), faces(np.ones((100, 2)))) is None
    assert realism([], faces(np.ones((100, 2)))) is None


def test_a_feature_that_never_fires_is_left_out():
    reference = np.random.default_rng(4).normal(0, 1, (50, 3)) * (1, 0, 5)
    (scaled,) = standardised(reference, reference)
    assert scaled.shape == (50, 2)
    assert scaled.std(0) == pytest.approx(1)


def test_others_counts_pairs_of_two_people_only():
    ledger = Ledger()
    alike, apart = np.array([1, 0], np.float32), np.array([0, 1], np.float32)
    for person, embedding in ((1, alike), (1, alike), (2, alike), (3, apart)):
        ledger.describe("row", person, np.zeros(1), {"judge": embedding})
    assert ledger.others("row", "judge", 0.5) == pytest.approx(2 / 5)
    assert ledger.others("row", "unknown", 0.5) is None


def test_an_estimate_takes_five_columns_of_the_csv():
    value = estimate([(1, 0.0), (2, 1.0), (3, 0.5)])
    table = Table("t", "T", "note", ("method", "rate"), (("a", value), ("b", None)))
    lines = table.csv().splitlines()
    assert lines[0] == "method,rate,rate low,rate high,rate values,rate people"
    assert lines[1].startswith("a,0.5,")
    assert lines[2] == "b,,,,,"
    assert shown(value).startswith("0.5 [")
    assert "| b | - |" in table.markdown()
