"""Why nobody was good enough, told so that the user knows what to change."""

import numpy as np


def _unit(*values):
    look = np.zeros((1, 128), np.float32)
    look[0, : len(values)] = values
    return look / np.linalg.norm(look)


def test_kept_region_that_identifies_is_told_apart_from_a_close_face(run, fakes, fake_engines):
    """Far enough without the kept pixels, and never with them."""
    photo = fakes.draw_photo()
    mask = np.zeros(photo.shape[:2], bool)
    mask[120:200, 110:200] = True  # eyes and nose, less than the face
    original = []

    def embedder(face):
        middle = face[0, :, 40:70, 36:76]
        if not original:
            original.append(middle)
        alike = float((np.abs(middle - original[0]) < 0.02).mean())
        return {"embedding": _unit(1.0, 0.1) if alike > 0.3 else _unit(0.0, 1.0)}

    fake_engines.overrides["embedder"] = embedder
    image, report = run([photo], keep=mask)[0]
    assert (image, report.reason) == (None, "kept-region-identifies")
    assert "keep less" in report.message


def test_close_face_without_a_kept_region_is_too_close(run, fakes, fake_engines):
    fake_engines.overrides["embedder"] = lambda face: {"embedding": _unit(1.0)}
    assert run([fakes.draw_photo()])[0][1].reason == "identity-too-close"


def test_narrow_pass_is_warned_of(run, fakes, fake_engines):
    calls = []

    def embedder(face):
        calls.append(1)
        cosine = 0.8 - 0.03 - 0.02  # the threshold, less the margin, less a little
        return {
            "embedding": _unit(1.0) if len(calls) == 1 else _unit(cosine, (1 - cosine**2) ** 0.5)
        }

    fake_engines.overrides["embedder"] = embedder
    _, report = run([fakes.draw_photo()])[0]
    assert report.verdict == "anonymized"
    assert report.faces[0].band == "close"
    assert any("narrow margin" in warning for warning in report.warnings)


def test_pair_is_compared_with_and_without_what_is_kept(run, fakes):
    results = run([fakes.draw_photo(0), fakes.draw_photo(1)], keep="eyes")
    for _, report in results:
        assert len(report.pair_cosines) == len(report.pair_cosines_generated) == 1
        assert report.pair_cosines != report.pair_cosines_generated


def test_pair_without_a_kept_region_needs_one_comparison(run, fakes):
    _, report = run([fakes.draw_photo(0), fakes.draw_photo(1)])[0]
    assert report.pair_cosines == report.pair_cosines_generated


def test_serial_case_of_four_photographs_is_one_person(run, fakes):
    results = run(
        [fakes.draw_photo(seed) for seed in range(4)], keep=["mouth", "none", "nose", "eyes"]
    )
    assert [report.keep for _, report in results] == [("mouth",), (), ("nose",), ("eyes",)]
    assert all(len(report.pair_cosines) == 3 for _, report in results)
    assert len({report.faces[0].draws for _, report in results}) == 1
