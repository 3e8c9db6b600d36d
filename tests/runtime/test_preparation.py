"""What is made of a photograph before a face is replaced: nobody's face is left in the frame."""

import numpy as np
import pytest

from vera.case.preparation import framed, paint_over
from vera.case.work import Work
from vera.face.faces import find_faces
from vera.region.replaced import Replacing
from vera.settings import Settings

# The second face's middle lies beyond the first one's square, part of it inside.
_CUT = ((0.5, 20.0, 60.0), (0.4, 130.0, 80.0))
_INSIDE = ((0.62, 40.0, 60.0), (0.3, 130.0, 170.0))


def _work(fakes, faces, keep=None):
    photo = fakes.draw_photo(2, faces)
    engines = fakes.Engines(faces)
    found = find_faces(photo, engines)[0]
    work = Work(0, None, photo, photo, np.zeros(photo.shape[:2], bool), faces=found)
    mask = framed(work, keep, engines)
    return work, mask


def test_face_cut_off_by_the_frame_is_painted_over_and_told(fakes):
    work, _ = _work(fakes, _CUT)
    side = work.image.shape[0]
    assert len(work.faces) == 1
    assert any("painted over: 1" in text for text in work.warnings)
    # At the side the neighbour looked in, one colour is left beside the patient.
    rim = work.image[side // 3 : side // 2, -6:].reshape(-1, 3).astype(int)
    assert np.ptp(rim, axis=0).max() <= 3


def test_patient_s_own_face_is_not_painted(fakes):
    photo = fakes.draw_photo(2, _CUT)
    engines = fakes.Engines(_CUT)
    patient, other = find_faces(photo, engines)[0]
    work = Work(0, None, photo, photo, np.zeros(photo.shape[:2], bool), faces=[patient])
    framed(work, None, engines)
    painted = paint_over(work.image, other.found, work.faces[0])
    middle = np.s_[110:150, 110:150]
    assert np.array_equal(painted[middle], work.image[middle])


def test_face_within_the_frame_stays_a_face(fakes):
    work, _ = _work(fakes, _INSIDE)
    assert len(work.faces) == 2 or any("painted over" in text for text in work.warnings)


def test_part_of_a_mask_beyond_the_frame_is_told(fakes):
    keep = np.zeros((320, 320), bool)
    keep[100:120, 60:80] = keep[300:318, 300:318] = True
    work, mask = _work(fakes, _CUT[:1], keep)
    assert mask.any()
    assert any("lies beyond the frame" in text for text in work.warnings)


def test_bystander_s_hair_and_surroundings_stay(fakes):
    work, _ = _work(fakes, _CUT[:1])
    work.faces *= 2
    work.replacing = Replacing.of(
        Settings(frame="crop", hair="regenerate", background="regenerate")
    )

    class Photo:
        class keep:
            classes = ()

    work.photo = Photo()
    assert work.subject(0).replacing.background
    assert not work.subject(1).replacing.background
    assert not work.subject(1).replacing.hair


@pytest.mark.parametrize("faces", ["all", "largest"])
def test_cropped_photograph_is_anonymised(run, fakes, faces):
    photo = fakes.draw_photo()
    image, report = run([photo], frame="crop", faces=faces)[0]
    assert image is not None
    assert image.shape in ((256, 256, 3), (512, 512, 3))
    assert report.settings["frame"] == "crop"
