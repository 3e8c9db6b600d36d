import base64
import io
import json
import re
import stat
from html.parser import HTMLParser

import pytest
from photo_reports import full_report, picture, refused_report, write_output, write_outputs
from PIL import Image

from vera.cli import main
from vera.errors import OutputError, UsageError
from vera.files.write import write_parts
from vera.page.build import write_page
from vera.page.originals import Originals
from vera.page.plot import distances
from vera.page.read import read_outputs
from vera.page.summary import nearest, summarise
from vera.report import FaceReport, JudgeReport, KeptReport

_VOID = {"meta", "img", "input", "br", "path"}


class Page(HTMLParser):
    """Tags with their attributes, text, and whether all tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in _VOID:
            assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def page(out):
    """Writes the page of ``out`` and reads it."""

    def page(**options):
        path = out.parent / "page.html"
        write_page(read_outputs(out), path, **options)
        return Page(path.read_text("utf-8"))

    return page


def test_page_loads_nothing_from_elsewhere(out, page):
    write_outputs(out)
    shown = page()
    addresses = [a[key] for _, a in shown.tags for key in ("src", "href", "xlink:href") if key in a]
    assert len(addresses) > 3
    assert [a for a in addresses if not a.startswith(("data:", "#"))] == []
    assert not re.findall(r"@import|url\((?!#)", shown.text)
    policy = next(a["content"] for a in shown.all("meta") if "http-equiv" in a)
    assert "default-src 'none'" in policy


def test_page_is_well_formed(out, page):
    write_outputs(out)
    shown = page()
    assert shown.open == []
    ids = [attributes["id"] for _, attributes in shown.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_every_picture_has_a_text(out, page):
    write_outputs(out)
    images = page().all("img")
    assert len(images) == 2
    assert all(image["alt"] and image["loading"] == "lazy" for image in images)


def test_pictures_are_scaled_down_to_the_side(out, page):
    write_outputs(out)
    for image in page(side=40).all("img"):
        content = base64.b64decode(image["src"].split(",")[1])
        with Image.open(io.BytesIO(content)) as opened:
            assert max(opened.size) == 40


def test_refused_photograph_has_its_sentence_and_no_picture(out, page):
    write_output(out, "anon_1", refused_report())
    shown = page()
    assert "No face was found." in shown.text
    assert shown.all("img") == []


def test_kept_region_is_outlined_in_pixels_of_the_output(out, page):
    write_output(out, "anon_1", full_report(), picture())
    shown = page(side=20)
    assert any(svg.get("viewbox") == "0 0 60 80" for svg in shown.all("svg"))
    assert any("M20,40 39,40 39,59 20,59 Z" in path["d"] for path in shown.all("path"))


def test_report_without_the_later_measurements_is_shown(out, page):
    face = FaceReport((3, 4), 5.0, 0.2, 0.43, 1, True, limit=0.4)
    plain = full_report(
        faces=(face,), kept=KeptReport(), settings={}, inversion=None, identity=None, variants=1
    )
    write_output(out, "anon_1", plain, picture())
    shown = page()
    assert "0.200, limit 0.400" in shown.text
    assert "seam" not in [a.get("scope") for a in shown.all("th")]


def test_all_measurements_are_shown(out, page):
    write_output(out, "anon_1", full_report(), picture())
    text = page().text
    for told in (
        "0.210, limit 0.420, safe; 2 draws",
        "0.110, limit 0.300",
        "0.20 % (2 of 1000 pixels)",
        "0.4 grey levels, 95 %: 2.5",
        "turned by about 0°, 5°, 0°",
        "400 pixels compared, largest difference 0; 7 % of the face",
        "0.800; without the kept region 0.600",
        "The identity is close to the limit.",
        str(2**63 - 1),
        "20 steps, loss 0.5 to 0.1",
    ):
        assert told in text, told


def test_text_of_reports_is_escaped(out, page):
    hostile = "<script>alert(1)</script>"
    judge = JudgeReport(hostile, "0123456789ab", 0.1, 0.3)
    face = FaceReport((3, 4), 5.0, 0.2, 0.4, 1, True, judges=(judge,))
    write_output(out, "anon_1", full_report(faces=(face,), warnings=(hostile,)), picture())
    shown = page(title=hostile)
    assert len(shown.all("script")) == 1
    assert hostile not in shown.text


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("torn", "cannot be read as JSON"),
        ("odd", "Not a report of this version"),
        ("stray", "An image without a report"),
        ("gone", "its image is missing"),
        ("left", "an image of its name lies beside it"),
    ],
)
def test_faults_of_the_folder_are_named_by_output(out, page, name, sentence):
    write_outputs(out)
    (out / "torn.json").write_text('{"verdict": NaN}')
    (out / "odd.json").write_text('{"verdict": "anonymized"}')
    Image.fromarray(picture()).save(out / "stray.png")
    write_output(out, "gone", full_report())
    write_output(out, "left", refused_report(), picture())
    told = {fault.name: fault.message for fault in read_outputs(out).faults}
    assert len(told) == 5
    assert sentence in told[name]
    assert f"<code>{name}</code>: " in page().text


def test_image_of_a_refused_photograph_is_never_shown(out, page):
    write_output(out, "anon_1", refused_report(), picture())
    assert page().all("img") == []


def test_broken_image_is_told_with_its_photograph(out, page):
    write_output(out, "anon_1", full_report())
    (out / "anon_1.png").write_bytes(b"\x89PNG half")
    shown = page()
    assert shown.all("img") == []
    assert "missing or cannot be read" in shown.text


def test_the_job_s_own_files_are_no_faults(out):
    write_outputs(out)
    (out / "vera-log.json").write_text("{}")
    (out / ".vera-1-0123456789abcdef.png").write_bytes(b"half")
    assert read_outputs(out).faults == ()


def test_a_folder_is_a_case_and_numbers_sort_as_numbers(out):
    for name in ("case_0002/anon_10", "case_0002/anon_9", "case_0010/anon_1", "case_0001/anon_1"):
        write_output(out, name, full_report(), picture())
    found = read_outputs(out)
    assert [case.name for case in found.cases] == ["case_0001", "case_0002", "case_0010"]
    assert [o.name for o in found.cases[1].outputs] == ["case_0002/anon_9", "case_0002/anon_10"]


def test_outputs_of_one_call_are_a_case_without_a_folder_of_their_own(out):
    for number, photo, seed in ((1, 1, 5), (2, 2, 5), (3, 1, 6)):
        write_output(out, f"anon_{number}", full_report(seed=seed, photo=photo), picture())
    write_output(out, "anon_4", full_report(seed=6, mode="single", variants=1), picture())
    assert sizes(out) == [2, 1, 1]


def sizes(out) -> list[int]:
    return [len(case.outputs) for case in read_outputs(out).cases]


def test_keyed_calls_are_cases_although_their_seed_is_the_same(out):
    number = 0
    for call, (photos, variants) in enumerate([(2, 1), (2, 1), (3, 2), (1, 2)]):
        for photo in range(1, photos + 1):
            number += 1
            for variant in range(1, variants + 1):
                told = full_report(
                    seed=0,
                    photo=photo,
                    variant=variant,
                    variants=variants,
                    mode="paired" if photos > 1 else "single",
                    identity=f"{call}{variant}" * 6,
                )
                name = f"anon_{number}" + (f"_v{variant}" if variant > 1 else "")
                write_output(out, name, told, picture())
    assert sizes(out) == [2, 2, 6, 2]


def test_outputs_of_two_calls_are_told_apart_by_their_identity(out):
    for name, photo, identity in (("a", 1, "1"), ("b", 1, "2"), ("c", 2, "1"), ("d", 2, "2")):
        told = full_report(seed=0, photo=photo, identity=identity * 12)
        write_output(out, name, told, picture())
    cases = read_outputs(out).cases
    assert [[o.name for o in case.outputs] for case in cases] == [["a", "c"], ["b", "d"]]


def test_refused_photograph_belongs_to_the_call_before_it(out):
    write_output(out, "anon_1", full_report(seed=0, photo=1, identity="1" * 12), picture())
    write_output(out, "anon_2", refused_report(seed=0, photo=2, mode="paired", variants=2))
    assert sizes(out) == [2]


def test_outputs_named_like_the_job_s_files_are_seen(out):
    for name in ("vera-smith", "case_0001/vera-log"):
        write_output(out, name, full_report(mode="single"), picture())
    (out / "vera-log.json").write_text("{}")
    found = read_outputs(out)
    assert sorted(output.name for output in found.outputs) == ["case_0001/vera-log", "vera-smith"]
    assert found.faults == ()


@pytest.mark.parametrize("made", [False, True])
def test_folder_without_reports_is_one_sentence(out, made):
    if made:
        out.mkdir()
    with pytest.raises(UsageError, match="name the output folder"):
        read_outputs(out)


def test_summary_counts(out):
    write_outputs(out)
    summary = summarise(read_outputs(out))
    assert (summary.photos, summary.cases, summary.anonymized, summary.refused) == (3, 2, 2, 1)
    assert dict(summary.reasons) == {"no-face": 1}
    assert dict(summary.kept) == {"mouth": 2, "none": 1}
    assert (summary.pixels_compared, summary.max_difference, summary.warned) == (800, 0, 2)


def test_the_face_nearest_to_its_limit_is_plotted(out):
    faces = [
        FaceReport((3, 4), 5.0, cosine, 0.43, 1, False, limit=0.4) for cosine in (0.1, 0.3, 0.2)
    ]
    write_output(out, "anon_1", full_report(faces=tuple(faces)), picture())
    output = next(read_outputs(out).outputs)
    assert nearest(output) == (0.3, 0.4)
    assert nearest(output, "second opinion") is None


def test_plot_has_a_panel_per_recogniser_and_is_the_same_again(out):
    write_outputs(out)
    svg = distances(read_outputs(out))
    assert svg == distances(read_outputs(out))
    assert "VerA's own embedder" in svg
    assert "second opinion" in svg
    assert "<dc:date>" not in svg


def test_no_plot_without_a_measured_face(out, page):
    write_output(out, "anon_1", refused_report())
    assert distances(read_outputs(out)) is None
    assert "Distance from the originals" not in page().text


def test_without_being_asked_no_original_and_no_banner_appear(out, page):
    write_outputs(out)
    assert "shows patients" not in page().text


def test_page_with_originals_says_so_and_is_its_owner_s_alone(out, page, tmp_path):
    write_outputs(out)
    original = tmp_path / "jane_doe.png"
    Image.fromarray(picture(9)).save(original)
    shown = page(originals=Originals({"case_0001/anon_1": original}, 2))
    assert "<strong>This page shows patients.</strong>" in shown.text
    assert len(shown.all("img")) == 3
    assert "belong to no output: 2" in shown.text
    assert "jane" not in shown.text
    assert stat.S_IMODE((tmp_path / "page.html").stat().st_mode) == 0o600


def test_page_is_written_again_and_other_files_are_not(out, page, tmp_path):
    write_outputs(out)
    page()
    page(title="second")
    assert "<h1>second</h1>" in (tmp_path / "page.html").read_text("utf-8")
    (tmp_path / "page.html").write_text("<html>mine</html>")
    with pytest.raises(OutputError, match="is no report page"):
        page()
    assert (tmp_path / "page.html").read_text("utf-8") == "<html>mine</html>"


def test_parts_that_end_in_an_error_leave_no_file(tmp_path):
    def parts():
        yield "half"
        raise UsageError("enough")

    with pytest.raises(UsageError):
        write_parts(tmp_path / "page.html", parts())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("library", ["jinja2", "matplotlib"])
def test_missing_library_is_one_sentence(out, page, monkeypatch, library):
    write_outputs(out)
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(UsageError, match=rf"library {library}.*vera\[report\]"):
        page()


def test_command_writes_into_the_output_folder(out, capsys):
    write_outputs(out)
    assert main(["report", str(out), "--title", "Ward 5"]) == 0
    assert "<h1>Ward 5</h1>" in (out / "report.html").read_text("utf-8")
    assert "photographs  3" in capsys.readouterr().out
    assert read_outputs(out).faults == ()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [([], "No output folder was given"), (["OUT", "--with-originals", "x"], "must not lie in")],
)
def test_senseless_request_is_one_sentence(out, capsys, arguments, sentence):
    write_outputs(out)
    assert main(["report", *(a.replace("OUT", str(out)) for a in arguments)]) == 2
    assert sentence in capsys.readouterr().err
    assert not (out / "report.html").exists()


def test_reports_of_the_page_are_those_of_the_files(out):
    path = write_output(out, "anon_1", full_report(), picture())
    assert next(read_outputs(out).outputs).report == json.loads(path.read_text("utf-8"))
