import dataclasses
import json
import typing
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from photo_reports import full_report, refused_report

from vera import Anonymizer, report
from vera.bundle import load_bundle
from vera.case.local import LocalCases
from vera.cli import main
from vera.page.read import schema_text
from vera.settings import Settings

SCHEMA = json.loads(schema_text())
VALIDATOR = Draft202012Validator(SCHEMA)


def test_the_schema_is_one():
    Draft202012Validator.check_schema(SCHEMA)


def test_documentation_has_the_schema_of_the_package():
    docs = Path(__file__).parents[2] / "docs/report.schema.json"
    assert json.loads(docs.read_text("utf-8")) == SCHEMA


def test_command_prints_the_schema(capsys):
    assert main(["report", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA


DATACLASSES = {
    report.PhotoReport: SCHEMA,
    report.FaceReport: SCHEMA["$defs"]["face"],
    report.JudgeReport: SCHEMA["$defs"]["judge"],
    report.AttributeChange: SCHEMA["$defs"]["change"],
    report.SeamReport: SCHEMA["$defs"]["seam"],
    report.CoverageReport: SCHEMA["$defs"]["coverage"],
    report.KeptReport: SCHEMA["$defs"]["kept"],
    report.InversionReport: SCHEMA["$defs"]["inversion"],
    report.BundleReport: SCHEMA["$defs"]["bundle"],
    Settings: SCHEMA["$defs"]["settings"],
}


@pytest.mark.parametrize("kind", DATACLASSES, ids=lambda kind: kind.__name__)
def test_schema_has_the_fields_of_the_dataclass_and_no_more(kind):
    part = DATACLASSES[kind]
    names = [field.name for field in dataclasses.fields(kind)]
    assert sorted(part["properties"]) == sorted(names)
    assert part["additionalProperties"] is False
    assert kind is Settings or part["required"] == list(part["properties"])


def test_every_dataclass_of_the_report_is_in_the_schema():
    def below(kind):
        for hint in typing.get_type_hints(kind).values():
            for one in (hint, *typing.get_args(hint)):
                if dataclasses.is_dataclass(one):
                    yield one
                    yield from below(one)

    assert set(below(report.PhotoReport)) | {report.PhotoReport, Settings} == set(DATACLASSES)


@pytest.mark.parametrize("kind", DATACLASSES, ids=lambda kind: kind.__name__)
def test_choices_of_the_schema_are_those_of_the_types(kind):
    told = DATACLASSES[kind]["properties"]
    for name, hint in typing.get_type_hints(kind).items():
        if typing.get_origin(hint) is typing.Literal:
            assert told[name]["enum"] == list(typing.get_args(hint)), name
        else:
            assert "enum" not in told[name]


def test_every_field_is_described():
    fields = [field for part in DATACLASSES.values() for field in part["properties"].values()]
    assert [field for field in fields if len(field.get("description", "")) < 10] == []


@pytest.mark.parametrize("made", [full_report(), refused_report(), full_report(faces=())])
def test_written_reports_are_valid(made):
    VALIDATOR.validate(json.loads(made.to_json()))


def test_format_is_that_of_the_code():
    assert SCHEMA["properties"]["format"]["const"] == report.REPORT_FORMAT


@pytest.mark.parametrize(
    "change",
    [
        {"name": "jane.jpg"},
        {"verdict": "fine"},
        {"reason": "no-face"},
        {"seed": -1},
        {"keep": "mouth"},
        {"pair_cosines": [1.5]},
        {"kept": {"pixels_compared": 1}},
        {"settings": {"faces": "some"}},
        {"format": 1},
    ],
)
def test_what_is_no_report_is_not_valid(change):
    content = {**json.loads(full_report().to_json()), **change}
    assert not VALIDATOR.is_valid(content)


def test_a_refusal_needs_its_reason_and_sentence():
    content = json.loads(refused_report().to_json())
    assert not VALIDATOR.is_valid({**content, "reason": None})
    assert not VALIDATOR.is_valid({**content, "message": None})


@pytest.mark.slow
def test_reports_of_a_run_are_valid(bundle_folder, fake_engines, fakes, tmp_path):
    anonymizer = Anonymizer.over(LocalCases(load_bundle(bundle_folder), engines=fake_engines))
    photos = [fakes.draw_photo(), tmp_path / "missing.png"]
    results = anonymizer.anonymize(photos, keep="mouth", seed=1, steps=0)
    assert {result.report.verdict for result in results} == {"anonymized", "refused"}
    for result in results:
        VALIDATOR.validate(json.loads(result.report.to_json()))
