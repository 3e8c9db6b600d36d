"""A case key gives a patient the same new person without storing anything of the face."""

from dataclasses import replace

import numpy as np
import pytest

from vera.contract import high_level_row
from vera.errors import UsageError
from vera.face.appearance import Appearance
from vera.identity.redraw import draw_keyed_identity
from vera.key import CaseKey, canonical_case_id, read_secret

_SECRET = bytes(range(32))


def _words(case_id):
    return CaseKey(_SECRET, case_id).derived().words()


@pytest.fixture
def wanted(fake_bundle):
    bank = fake_bundle.identities
    expression = bank.codes[3, high_level_row("expression")]
    like = (bank.skin[3], float(bank.female[3]), float(bank.age[3]), float(bank.yaw[3]), expression)
    return Appearance(*like, -bank.embedding[3])


def test_same_secret_and_case_give_the_same_words():
    assert _words("A-17") == _words(" A-17 ")
    assert len(_words("A-17")) == 8


@pytest.mark.parametrize("other", [CaseKey(_SECRET, "A-18"), CaseKey(_SECRET[::-1], "A-17")])
def test_other_secret_or_case_gives_other_words(other):
    assert _words("A-17") != other.derived().words()


def test_composed_and_decomposed_letters_are_one_case_id():
    assert _words("Jos\u00e9") == _words("Jose\u0301")


@pytest.mark.parametrize(("secret", "case_id"), [(b"short", "A"), (_SECRET, " ")])
def test_key_that_protects_nothing_is_refused(secret, case_id):
    with pytest.raises(UsageError):
        CaseKey(secret, case_id)


def test_neither_secret_nor_case_id_is_printed():
    assert "A-17" not in repr(CaseKey(_SECRET, "A-17"))
    assert "secret" not in repr(CaseKey(_SECRET, "A-17"))


def test_photographs_of_another_day_draw_the_same_person(fake_bundle, wanted):
    """Light, age by a year, pose and expression change; the person does not."""
    words = _words("A-17")
    later = replace(
        wanted,
        skin=wanted.skin + np.float32(0.3),
        age=wanted.age + 1,
        yaw=wanted.yaw + 25,
        expression=wanted.expression + 3,
    )
    first, second = (
        draw_keyed_identity(fake_bundle.identities, like, words, 0) for like in (wanted, later)
    )
    assert np.array_equal(first, second)


def test_other_patients_get_other_people(fake_bundle, wanted):
    people = [
        draw_keyed_identity(fake_bundle.identities, wanted, _words(name), 0) for name in "ABCDE"
    ]
    for i, one in enumerate(people):
        assert all(np.abs(one - other).mean() > 0.1 for other in people[:i])


def test_keyed_draws_fit_the_head_better_than_chance(fake_bundle, wanted):
    bank = fake_bundle.identities
    drawn = [draw_keyed_identity(bank, wanted, _words(str(n)), 0) for n in range(30)]
    near = [np.abs(code - bank.codes[3]).mean() for code in drawn]
    chance = np.abs(bank.codes - bank.codes[3]).mean((1, 2))
    assert np.mean(near) < chance.mean()


def test_report_names_the_identity_and_tells_neither_seed_nor_case(run, fakes):
    key = CaseKey(_SECRET, "A-17")
    first, again = (run([fakes.draw_photo()], key=key)[0] for _ in range(2))
    assert np.array_equal(first[0], again[0])
    assert first[1].identity == again[1].identity
    assert len(first[1].identity) == 12
    assert first[1].seed == 0
    assert "A-17" not in first[1].to_json()
    other = run([fakes.draw_photo()], key=CaseKey(_SECRET, "A-18"))[0]
    assert other[1].identity != first[1].identity


def test_seed_beside_a_key_is_refused(run, fakes):
    with pytest.raises(UsageError, match="both decide"):
        run([fakes.draw_photo()], key=CaseKey(_SECRET, "A-17"), seed=3)


def test_key_with_moved_people_is_refused(run, fakes):
    with pytest.raises(UsageError, match="so a case key would not"):
        run([fakes.draw_photo()], key=CaseKey(_SECRET, "A-17"), method="margin")


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"a long enough secret\n", b"a long enough secret"),
        (b"a long enough secret\r\n", b"a long enough secret"),
        (b" a long enough secret \n\n", b" a long enough secret \n\n"),
        ("ein Schl\u00fcssel, lang genug\n".encode(), "ein Schl\u00fcssel, lang genug".encode()),
        (bytes(range(32)), bytes(range(32))),
        (b"\t" + bytes(range(200, 216)) + b"\n", b"\t" + bytes(range(200, 216)) + b"\n"),
        (b"\n" * 20, b"\n" * 20),
    ],
)
def test_secret_of_a_file_loses_nothing_but_the_line_end_of_a_text(tmp_path, content, secret):
    (tmp_path / "secret").write_bytes(content)
    assert read_secret(tmp_path / "secret") == secret


def test_canonical_case_id_is_what_the_key_uses():
    assert canonical_case_id(" Jose\u0301 ") == "Jos\u00e9".encode()
    with pytest.raises(UsageError, match="must be UTF-8 text"):
        CaseKey(_SECRET, "j\udcf6rg")
