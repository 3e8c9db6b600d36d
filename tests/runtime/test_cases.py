from pathlib import Path

import pytest

from vera.batch.cases import ListedCase, collect_cases
from vera.errors import UsageError

OUT = Path("elsewhere")


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding)
    return path


def test_photos_of_the_command_line_are_one_case(tmp_path):
    touch(tmp_path, "b.jpg", "a.jpg")
    photos = [tmp_path / "b.jpg", tmp_path / "a.jpg"]
    found = collect_cases(photos, keep="mouth", out=OUT)
    assert [case.photos for case in found.cases] == [tuple(photos)]
    assert found.cases[0].keep == ("mouth", "mouth")
    assert not found.nested


def test_folder_has_a_case_per_sub_folder_in_the_order_of_names(tmp_path):
    touch(tmp_path, "b/2.jpg", "b/1.JPG", "a/x.png")
    found = collect_cases([tmp_path], keep="none", out=OUT)
    assert [(case.label, [p.name for p in case.photos]) for case in found.cases] == [
        ("a", ["x.png"]),
        ("b", ["1.JPG", "2.jpg"]),
    ]
    assert found.nested
    assert found.photo_count == 3


def test_photos_directly_in_the_folder_are_cases_of_their_own(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg", "c/1.jpg", "c/2.jpg")
    found = collect_cases([tmp_path], keep="none", out=OUT)
    assert [len(case.photos) for case in found.cases] == [1, 1, 2]


def test_hidden_files_and_other_files_are_skipped_and_counted(tmp_path):
    touch(
        tmp_path, "a/1.jpg", "a/.1.jpg", "a/notes.txt", "a/deeper/2.jpg", ".hidden/3.jpg", "x.csv"
    )
    found = collect_cases([tmp_path], keep="none", out=OUT)
    assert [len(case.photos) for case in found.cases] == [1]
    assert found.skipped == 5


def test_photo_in_a_format_that_is_not_read_is_listed_so_that_it_gets_refused(tmp_path):
    touch(tmp_path, "a/1.heic")
    assert collect_cases([tmp_path], keep="none", out=OUT).photo_count == 1


@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_table_gives_cases_keep_and_masks(tmp_path, separator, encoding):
    touch(tmp_path, "1.jpg", "2.jpg", "3.jpg", "mask.png")
    rows = ["case,photo,keep,mask", "anna,1.jpg,mouth,", "ben,2.jpg,,", "anna,3.jpg,,mask.png"]
    text = "\n".join(rows).replace(",", separator)
    found = collect_cases([], keep="nose", out=OUT, table=table(tmp_path, text, encoding))
    assert found.cases == (
        ListedCase(
            "anna",
            (tmp_path / "1.jpg", tmp_path / "3.jpg"),
            ("mouth", str(tmp_path / "mask.png")),
            "anna",
        ),
        ListedCase("ben", (tmp_path / "2.jpg",), ("nose",), "ben"),
    )


def test_photos_of_a_table_are_looked_for_in_the_folder_given(tmp_path):
    folder = touch(tmp_path / "photos", "1.jpg")
    path = table(tmp_path, "photo,case\n1.jpg,a")
    found = collect_cases([folder], keep="none", out=OUT, table=path)
    assert found.cases[0].photos == (folder / "1.jpg",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "got an empty file"),
        ("case,picture\na,1.jpg", "got case,picture"),
        ("case,photo\n", "no rows"),
        ("case,photo\na,jane.jpg", "row 2 of the table does not exist"),
        ("case,photo\na,1.jpg\n,1.jpg", "Row 3 of the table lacks its case"),
        ("case,photo\na,1.jpg,mouth", "Row 2 of the table has more cells"),
        ("case,photo,keep,mask\na,1.jpg,mouth,1.jpg", "both keep and mask"),
        ("case,photo,mask\na,1.jpg,no.png", "The mask in row 2"),
        ("case,photo,keep\na,1.jpg,teeth", "'teeth' is no region to keep"),
    ],
)
def test_bad_table_is_one_sentence_before_anything_is_done(tmp_path, text, sentence):
    touch(tmp_path, "1.jpg")
    with pytest.raises(UsageError, match=sentence) as caught:
        collect_cases([], keep="none", out=OUT, table=table(tmp_path, text))
    assert "jane" not in str(caught.value)


def test_table_in_another_encoding_is_refused(tmp_path):
    with pytest.raises(UsageError, match="UTF-8"):
        collect_cases([], keep="none", out=OUT, table=table(tmp_path, "case,photö", "latin-1"))


def test_missing_photo_is_counted_not_named(tmp_path):
    touch(tmp_path, "a.jpg")
    with pytest.raises(UsageError, match="Argument 2 does not exist") as caught:
        collect_cases([tmp_path / "a.jpg", tmp_path / "jane.jpg"], keep="none", out=OUT)
    assert "jane" not in str(caught.value)


def test_folder_among_photos_is_refused(tmp_path):
    touch(tmp_path, "a.jpg", "b/1.jpg")
    with pytest.raises(UsageError, match="Argument 2 is a folder"):
        collect_cases([tmp_path / "a.jpg", tmp_path / "b"], keep="none", out=OUT)


def test_empty_folder_is_refused(tmp_path):
    touch(tmp_path, "notes.txt")
    with pytest.raises(UsageError, match=r"no photographs \(1 other entries\)"):
        collect_cases([tmp_path], keep="none", out=OUT)


@pytest.mark.parametrize("out", [".", "out", "a/out"])
def test_output_inside_the_folder_of_cases_is_refused(tmp_path, out):
    touch(tmp_path, "a/1.jpg")
    with pytest.raises(UsageError, match="inside the folder of cases"):
        collect_cases([tmp_path], keep="none", out=tmp_path / out)


def test_nothing_at_all_is_refused():
    with pytest.raises(UsageError, match="Nothing to anonymise"):
        collect_cases([], keep="none", out=OUT)


def test_unknown_region_is_refused(tmp_path):
    touch(tmp_path, "a.jpg")
    with pytest.raises(UsageError, match="'chin' is no region"):
        collect_cases([tmp_path / "a.jpg"], keep="chin", out=OUT)


def listed(*lines: bytes, separator: bytes = b"\n"):
    return lambda: separator.join(lines)


def collect_list(read_list, out=OUT, **options):
    return collect_cases([Path("-")], keep="none", out=out, read_list=read_list, **options)


def test_list_has_a_photograph_or_a_folder_of_a_case_per_line(tmp_path):
    touch(tmp_path, "1.jpg", "anna/2.jpg", "anna/3.jpg", "anna/notes.txt")
    lines = [b"# those of May", b"", bytes(tmp_path / "1.jpg"), b"  ", bytes(tmp_path / "anna")]
    found = collect_list(listed(*lines, b""))
    assert [(case.label, [p.name for p in case.photos]) for case in found.cases] == [
        ("1", ["1.jpg"]),
        ("anna", ["2.jpg", "3.jpg"]),
    ]
    assert found.nested
    assert found.skipped == 1


def test_list_with_carriage_returns_is_read(tmp_path):
    touch(tmp_path, "1.jpg", "2.jpg")
    lines = [bytes(tmp_path / name) for name in ("1.jpg", "2.jpg")]
    assert collect_list(listed(*lines, separator=b"\r\n")).photo_count == 2


def test_list_separated_by_nuls_takes_names_as_they_are(tmp_path):
    names = ["#1.jpg", " 2\n.jpg", "3\udcff.jpg"]
    touch(tmp_path, *names)
    paths = [str(tmp_path / name).encode("utf-8", "surrogateescape") for name in names]
    found = collect_list(listed(*paths, b"", separator=b"\0"))
    assert [case.photos[0].name for case in found.cases] == names


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([b"jane.jpg"], "Line 1 of the list does not exist"),
        ([b"# nobody", b"EMPTY"], "Line 2 of the list is a folder without photographs"),
        ([b"", b"# nobody"], "The list is empty"),
    ],
)
def test_bad_list_is_one_sentence_before_anything_is_done(tmp_path, lines, sentence):
    touch(tmp_path, "empty/notes.txt")
    lines = [line.replace(b"EMPTY", bytes(tmp_path / "empty")) for line in lines]
    with pytest.raises(UsageError, match=sentence) as caught:
        collect_list(listed(*lines))
    assert "jane" not in str(caught.value)


def test_output_inside_a_listed_folder_is_refused(tmp_path):
    touch(tmp_path, "anna/1.jpg")
    with pytest.raises(UsageError, match="inside the folder of cases"):
        collect_list(listed(bytes(tmp_path / "anna")), out=tmp_path / "anna" / "out")


def test_each_photograph_gets_its_own_region(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg")
    photos = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    found = collect_cases(photos, keep=["mouth", "eyes"], out=OUT)
    assert found.cases[0].keep == ("mouth", "eyes")


def test_regions_that_do_not_fit_the_photographs_are_refused(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg", "c.jpg", "cases/1/a.jpg")
    photos = [tmp_path / "a.jpg", tmp_path / "b.jpg", tmp_path / "c.jpg"]
    with pytest.raises(UsageError, match="Got 2 --keep for 3 photographs"):
        collect_cases(photos, keep=["mouth", "eyes"], out=OUT)
    with pytest.raises(UsageError, match="Several --keep are for"):
        collect_cases([tmp_path / "cases"], keep=["mouth", "eyes"], out=OUT)


def test_case_ids_are_names_that_were_given_to_a_case_and_never_a_file_s(tmp_path):
    touch(tmp_path, "photo.jpg", "cases/anna/1.jpg", "cases/loose.jpg")
    path = table(tmp_path, "case,photo\nben,photo.jpg")
    listing = listed(bytes(tmp_path / "cases/anna"), bytes(tmp_path / "photo.jpg"))

    def ids(found):
        return [case.case_id for case in found.cases]

    assert ids(collect_cases([tmp_path / "cases"], keep="none", out=OUT)) == ["anna", None]
    assert ids(collect_cases([], keep="none", out=OUT, table=path)) == ["ben"]
    assert ids(collect_list(listing)) == ["anna", None]
    photo = [tmp_path / "photo.jpg"]
    assert ids(collect_cases(photo, keep="none", out=OUT)) == [None]
    assert ids(collect_cases(photo, keep="none", out=OUT, case_id="carl")) == ["carl"]


def test_case_id_of_a_folder_is_refused(tmp_path):
    touch(tmp_path, "anna/1.jpg")
    with pytest.raises(UsageError, match="have ids of their own"):
        collect_cases([tmp_path], keep="none", out=OUT, case_id="carl")
