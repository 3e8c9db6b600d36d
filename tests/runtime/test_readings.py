import numpy as np
import pytest

from vera.errors import EngineError
from vera.face.faces import find_faces
from vera.face.readings import Reading, change, read_face, told_change
from vera.report import AttributeChange


@pytest.fixture
def photo(fakes):
    return fakes.draw_photo()


@pytest.fixture
def face(photo, fake_engines):
    return find_faces(photo, fake_engines)[0][0]


def _reading(**changes):
    values = {
        "pose": np.zeros(3, np.float32),
        "expression": np.eye(7, dtype=np.float32)[6],
        "mouth_open": 0.1,
        "age": 40.0,
        "skin": np.array([70, 12, 16], np.float32),
    }
    return Reading(**{**values, **changes})


def test_unchanged_face_has_no_change(photo, face, fake_engines):
    before = read_face(photo, face.points, fake_engines, face.labels)
    after = read_face(photo, face.points, fake_engines)
    told = change(before, after)
    assert set(told.__slots__) == {
        *("yaw", "pitch", "roll", "expression", "mouth_open", "age", "skin_tone")
    }
    assert all(getattr(told, name) == 0 for name in told.__slots__)


def test_known_part_map_spares_the_parser(photo, face, fake_engines):
    fake_engines.calls.clear()
    read_face(photo, face.points, fake_engines, face.labels)
    assert fake_engines.calls == ["attributes"]
    read_face(photo, face.points, fake_engines)
    assert fake_engines.calls[1:] == ["attributes", "parser"]


def test_attributes_see_the_face_on_its_template(photo, face, fake_engines):
    seen = {}
    plain = fake_engines._attributes

    def attributes(face):
        seen["face"] = face
        return plain(face)

    fake_engines.overrides["attributes"] = attributes
    read_face(photo, face.points, fake_engines, face.labels)
    small = face.crop.reshape(128, 2, 128, 2, 3).mean((1, 3)).transpose(2, 0, 1) / 127.5 - 1
    assert np.abs(seen["face"][0] - small).mean() < 0.02


def test_change_is_output_minus_original():
    before = _reading()
    after = _reading(
        pose=np.array([3, -2, 1.04], np.float32),
        expression=np.eye(7, dtype=np.float32)[3],
        mouth_open=0.25,
        age=37.0,
        skin=np.array([73, 12, 20], np.float32),
    )
    told = change(before, after)
    assert (told.yaw, told.pitch, told.roll) == (3.0, -2.0, 1.0)
    assert (told.expression, told.mouth_open) == (1.0, 0.15)
    assert (told.age, told.skin_tone) == (-3.0, 5.0)


def test_lighter_skin_is_a_change_of_tone(photo, face, fake_engines):
    before = read_face(photo, face.points, fake_engines, face.labels)
    lighter = np.clip(photo.astype(int) + 20, 0, 255).astype(np.uint8)
    after = read_face(lighter, face.points, fake_engines, face.labels)
    assert change(before, after).skin_tone > 4


def test_nan_is_an_error(photo, face, fake_engines):
    plain = fake_engines._attributes
    fake_engines.overrides["attributes"] = lambda face: {
        **plain(face),
        "age": np.full((1, 1), np.nan, np.float32),
    }
    with pytest.raises(EngineError, match="not finite"):
        read_face(photo, face.points, fake_engines, face.labels)


def test_report_tells_changes_coarsely_and_only_of_what_was_preserved():
    exact = AttributeChange(-7.4, 2.4, 0.2, 0.31, -0.26, -13.1, 4.2)
    told = told_change(exact, ("expression", "age", "skin-tone"))
    assert told == AttributeChange(5.0, 0.0, 0.0, 0.31, 0.3, 15.0, 4.2)
    free = told_change(exact, ())
    assert free == AttributeChange(5.0, 0.0, 0.0, None, None, None, None)
