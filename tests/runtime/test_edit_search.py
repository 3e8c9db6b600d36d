import numpy as np
import pytest

from vera import contract
from vera.editing.directions import Directions
from vera.editing.grammar import Aim
from vera.editing.search import pursue
from vera.editing.state import Look, Reading

WIDTH = contract.LATENT_WIDTH
POSE = contract.high_level_row("pose")


def latents(value: float = 0.0) -> np.ndarray:
    result = np.zeros((contract.LATENT_ROWS, WIDTH), np.float32)
    result[POSE, 0] = value
    return result


def world(respond, *, same_until=np.inf, whole_until=np.inf, happy=0.2):
    """Renders latents whose pose code alone shows; ``respond`` gives the yaw."""

    def look(w: np.ndarray) -> Look:
        value = float(w[POSE, 0])
        turned = min(1.0, 0.5 if abs(value) > same_until else 1.0)
        rest = {name: (1 - happy) / 6 for name in contract.EXPRESSIONS if name != "happy"}
        reading = Reading(respond(value), 0.0, {**rest, "happy": happy}, 0.1, 40.0)
        embedding = np.array([turned, (1 - turned**2) ** 0.5], np.float32)
        agreement = 0.8 if abs(value) > whole_until else 0.95
        blank = np.zeros((8, 8, 3), np.uint8)
        return Look(blank, blank[..., 0], reading, embedding, agreement)

    return look


def turn(change: float, look) -> tuple[float, object]:
    moved, seen, reached = pursue(Aim("yaw", change), latents(), look(latents()), latents(1), look)
    assert seen.reading.yaw == reached.after
    return float(moved[POSE, 0]), reached


@pytest.mark.parametrize("change", [15, -15])
@pytest.mark.parametrize(
    "respond", [lambda v: v, lambda v: 0.5 * v, lambda v: 2 * v, lambda v: 20 * np.tanh(v / 20)]
)
def test_the_asked_change_is_reached_whatever_the_slope(change, respond):
    _, reached = turn(change, world(respond))
    assert reached.whole
    assert reached.stopped is None
    assert reached.after == pytest.approx(change, abs=0.5)


def test_it_goes_no_further_than_the_person_stays_the_same():
    length, reached = turn(15, world(lambda v: v, same_until=8))
    assert 7 < length <= 8
    assert not reached.whole
    assert reached.stopped == "further on it would be another person"


def test_it_goes_no_further_than_the_picture_holds():
    length, reached = turn(15, world(lambda v: v, whole_until=4))
    assert 3 < length <= 4
    assert reached.stopped == "further on the picture falls apart"


def test_a_face_that_does_not_answer_is_told():
    length, reached = turn(15, world(lambda v: 0.0))
    assert length == 0
    assert reached.stopped == "the face does not change further"
    assert (reached.before, reached.wanted, reached.after) == (0, 15, 0)


def test_strength_goes_a_part_of_the_way():
    look = world(lambda v: v)
    aim = Aim("yaw", 10, 0.5)
    _, _, reached = pursue(aim, latents(), look(latents()), latents(1), look)
    assert reached.wanted == pytest.approx(5)


def test_an_expression_that_is_there_already_stays_as_it_is():
    look = world(lambda v: v, happy=0.97)
    moved, _, reached = pursue(Aim("happy", None), latents(), look(latents()), latents(1), look)
    assert np.array_equal(moved, latents())
    assert reached.whole
    assert reached.after == pytest.approx(0.97)


def test_a_direction_moves_what_was_measured_and_no_other_rows(fake_bundle, fake_engines):
    def generator(latent):
        level = np.tanh(latent[:, POSE, 0] / 8)[:, None, None, None]
        image = np.broadcast_to(level, (1, 3, 256, 256)).astype(np.float32)
        return {"image": image, "segmentation": np.zeros((1, 13, 128, 128), np.float32)}

    def attributes(face):
        outputs = fake_engines._attributes(face)
        outputs["pose"][0, 0] = 30 * face.mean()
        return outputs

    fake_engines.overrides = {"generator": generator, "attributes": attributes}
    told: list[float] = []
    direction = Directions(fake_bundle.identities, fake_engines).along("yaw", told.append)
    assert direction[POSE, 0] > 0
    assert abs(direction[POSE, 0]) > 3 * np.abs(direction[POSE, 1:]).mean()
    assert not direction[contract.high_level_row("identity")].any()
    assert not direction[contract.texture_row(1)].any()
    assert told[0] == 0
    assert told == sorted(told)
