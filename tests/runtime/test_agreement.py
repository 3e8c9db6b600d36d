import csv
import json
from pathlib import Path

import numpy as np
import pytest
from photo_reports import full_report, picture, write_output

from vera.cli import main
from vera.errors import UsageError
from vera.rating.agreement import compare, kappa
from vera.rating.answers import read_all, read_key
from vera.rating.results import agreements, to_json, to_markdown

# J. L. Fleiss, B. Levin, M. C. Paik: Statistical Methods for Rates and Proportions, 3rd ed., table
# 18.1: 100 diagnoses by two raters; kappa 0.68, standard error 0.087.
_DIAGNOSES = [[75, 1, 4], [5, 4, 1], [0, 0, 10]]

# A. Agresti: Categorical Data Analysis (1990), section 2.4 (Hout et al. 1987), 91 couples; R's
# package vcd gives 0.1293 unweighted and 0.2374 with equal-spacing weights.
_COUPLES = [[7, 7, 2, 3], [2, 8, 3, 7], [1, 5, 4, 9], [2, 8, 9, 14]]


@pytest.mark.parametrize(
    ("table", "weights", "published"),
    [
        (_DIAGNOSES, "none", 0.6765),
        (_COUPLES, "none", 0.1293),
        (_COUPLES, "linear", 0.2374),
        (_COUPLES, "quadratic", 0.3320),  # sklearn.metrics.cohen_kappa_score
        ([[20, 5], [10, 15]], "none", 0.4),
        ([[5, 0], [0, 5]], "none", 1.0),
        ([[0, 5], [5, 0]], "none", -1.0),
    ],
)
def test_kappa_of_worked_examples(table, weights, published):
    assert kappa(table, weights) == pytest.approx(published, abs=5e-5)


def test_kappa_is_not_defined_when_one_answer_alone_was_used():
    assert np.isnan(kappa([[9, 0], [0, 0]]))


def pairs(table, cases=None):
    found = [(a, b) for a, row in enumerate(table) for b, n in enumerate(row) for _ in range(n)]
    return [(str(cases[i] if cases else i), a, b) for i, (a, b) in enumerate(found)]


def told(given, k, *, ordered=False):
    return compare(given, k, first="a", second="b", shown="x", ordered=ordered)


def test_interval_is_that_of_the_published_standard_error():
    estimate = told(pairs(_DIAGNOSES), 3).kappa["none"]
    assert estimate.low == pytest.approx(0.676 - 1.96 * 0.087, abs=0.03)
    assert estimate.high == pytest.approx(0.676 + 1.96 * 0.087, abs=0.03)


def test_photographs_of_one_case_do_not_narrow_the_interval():
    once = pairs(_DIAGNOSES)
    twice = [pair for pair in once for _ in (1, 2)]
    assert told(twice, 3).kappa == told(once, 3).kappa
    assert (told(twice, 3).n, told(twice, 3).cases) == (200, 100)


def test_table_and_share_of_equal_answers():
    agreement = told(pairs(_DIAGNOSES), 3)
    assert agreement.table == ((75, 1, 4), (5, 4, 1), (0, 0, 10))
    assert agreement.agreed == pytest.approx(0.89)
    assert set(agreement.kappa) == {"none"}
    assert set(told(pairs(_DIAGNOSES), 3, ordered=True).kappa) == {"none", "linear", "quadratic"}


@pytest.mark.parametrize("table", [[[9, 0], [0, 0]], [[1, 0], [0, 0]]])
def test_undefined_kappa_is_null(table):
    estimate = told(pairs(table), 2).kappa["none"]
    assert (estimate.value, estimate.low, estimate.high) == (None, None, None)


def test_one_case_has_no_interval():
    estimate = told(pairs([[2, 1], [1, 2]], "aaaaaa"), 2).kappa["none"]
    assert estimate.value == pytest.approx(1 / 3)
    assert (estimate.low, estimate.high) == (None, None)


KEY = """rater,item,case,output,kind,scale
1,bcd,c1,c1/anon_1,anonymized,1-3
1,fgh,c1,c1/anon_1,original-region,1-3
1,jkm,c2,c2/anon_1,anonymized,1-3
2,npq,c1,c1/anon_1,anonymized,1-3
2,rst,c1,c1/anon_1,original-region,1-3
2,vwx,c2,c2/anon_1,anonymized,1-3
"""
FIRST = "item,answer,comment\nbcd,1,\nfgh,1,\njkm,3,\n"
SECOND = "item,answer,comment\nvwx,3,\nrst,2,\nnpq,1,well\n"


@pytest.fixture
def write(tmp_path):
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return path

    return write


def test_raters_and_conditions_are_compared(write):
    key = read_key(write("key.csv", KEY))
    answers = read_all([write("2.csv", SECOND), write("1.csv", FIRST)], key)
    assert [one.rater for one in answers] == ["1", "2"]
    found = {(one.first, one.second, one.shown): one for one in agreements(key, answers)}
    raters = found["rater 1", "rater 2", "anonymised photograph"]
    assert raters.table == ((1, 0, 0), (0, 0, 0), (0, 0, 1))
    region, whole = "kept region of the original", "anonymised photograph"
    assert found["rater 1", "rater 2", region].table == ((0, 1, 0), (0, 0, 0), (0, 0, 0))
    assert found[region, whole, "rater 1"].table == ((1, 0, 0), (0, 0, 0), (0, 0, 0))
    assert found[region, whole, "rater 2"].table == ((0, 0, 0), (1, 0, 0), (0, 0, 0))
    assert found[region, whole, "all raters together"].n == 2
    assert len(found) == 5


def test_results_are_strict_json_and_markdown(write):
    key = read_key(write("key.csv", KEY))
    found = agreements(key, read_all([write("1.csv", FIRST), write("2.csv", SECOND)], key))
    read = json.loads(to_json(key.scale, found), parse_constant=pytest.fail)
    assert read["scale"] == {"values": ["1", "2", "3"], "ordered": True}
    assert len(read["comparisons"]) == 5
    text = to_markdown(key.scale, found)
    assert "| rater 1 | rater 2 | anonymised photograph | 2 | 2 | 100% | 1.00" in text
    assert "not defined: one answer only" in text
    assert "| 3 | 0 | 0 | 1 |" in text


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("bcd,1", "zzz,1"), "Answers 1, row 2 has an item that is not in the key"),
        (("fgh,1", "bcd,1"), "Answers 1, row 3 repeats an item"),
        (("jkm,3", "jkm,"), "Answers 1, row 4 has no answer"),
        (("jkm,3", "jkm,4"), "Answers 1, row 4 has an answer that is not on the scale 1-3"),
        (("jkm,3", "npq,3"), "Answers 1, row 4 is of another rater's sheet"),
        (("jkm,3,\n", ""), "Answers 1: 1 items of the sheet are missing, the first is row 4"),
        (("item,", "thing,"), "Answers 1 must have the columns item,answer"),
        ((FIRST, "item,answer\n"), "Answers 1: the file holds no answers"),
        ((FIRST, ""), "Answers 1 must have the columns"),
    ],
)
def test_slips_in_the_answers_are_told_with_their_row(write, change, sentence):
    key = read_key(write("key.csv", KEY))
    with pytest.raises(UsageError) as told:
        read_all([write("jane.csv", FIRST.replace(*change))], key)
    assert str(told.value).startswith(sentence)
    assert "jane" not in str(told.value)


def test_answers_of_one_rater_twice_are_one_sentence(write):
    key = read_key(write("key.csv", KEY))
    path = write("1.csv", FIRST)
    with pytest.raises(UsageError, match="Answers 2 is of a rater whose answers were given"):
        read_all([path, path], key)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (KEY.replace("fgh", "bcd"), "Row 3 of the key repeats an item"),
        (KEY.replace("1-3\n", "1-5\n", 1), "names 2 scales"),
        (KEY.splitlines()[0] + "\n", "names 0 scales"),
        ("a,b\n", "The key must have the columns"),
    ],
)
def test_what_is_no_key_is_one_sentence(write, text, sentence):
    with pytest.raises(UsageError, match=sentence):
        read_key(write("key.csv", text))


def test_files_that_cannot_be_read_are_one_sentence(tmp_path):
    with pytest.raises(UsageError, match="The key cannot be read"):
        read_key(tmp_path / "missing.csv")


def test_spreadsheets_may_write_semicolons_a_mark_and_empty_rows(write):
    key = read_key(write("key.csv", KEY))
    text = "\ufeff" + FIRST.replace(",", ";") + ";;\n"
    assert read_all([write("1.csv", text)], key)[0].values == {"bcd": 0, "fgh": 0, "jkm": 2}


def test_one_rater_of_one_condition_is_nothing_to_compare(write):
    key = read_key(write("key.csv", "\n".join(KEY.splitlines()[:2]) + "\n"))
    answers = read_all([write("1.csv", FIRST[:27])], key)
    with pytest.raises(UsageError, match="nothing to compare"):
        agreements(key, answers)


def fill(sheet: Path, filled: Path) -> Path:
    with sheet.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    answers = [
        [item, "yes" if n % 2 else "no", ""] for n, (item, *_) in enumerate(sorted(rows[1:]))
    ]
    with filled.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([rows[0], *answers])
    return filled


def test_sheets_come_back_as_agreement(out, tmp_path, capsys):
    for number in (1, 2, 3, 4):
        write_output(out, f"case_{number}/anon_1", full_report(), picture(number))
    place = tmp_path / "sheets"
    options = ["--scale", "yes-no", "--seed", "3", "--question", "Is the lip closed?"]
    assert main(["rate", "export", str(out), "--out", str(place), *options]) == 0
    assert "4 on each of 2 sheets" in capsys.readouterr().out
    filled = [fill(place / f"rater_{r}/answers.csv", tmp_path / f"{r}.csv") for r in (1, 2)]
    command = ["rate", "kappa", *map(str, filled), "--key", str(place / "key.csv")]
    assert main([*command, "--out", str(tmp_path / "agreement")]) == 0
    text = capsys.readouterr().out
    assert (tmp_path / "agreement/agreement.md").read_text("utf-8") == text
    read = json.loads((tmp_path / "agreement/agreement.json").read_text("utf-8"))
    assert [one["n"] for one in read["comparisons"]] == [4]
