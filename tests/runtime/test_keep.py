"""Keep requests: names, polygons, masks and margins are understood, or refused in a sentence."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from vera.contract import CLASSES
from vera.errors import PhotoError, ShapeError, UsageError
from vera.request.keep import Keep
from vera.request.keep_margin import Margin
from vera.request.polygon import polygon_mask

TRIANGLE = "polygon:10,5 30,5 20,25"


@pytest.mark.parametrize(
    ("text", "regions", "name"),
    [
        ("none", (), "none"),
        ("mouth", ("mouth",), "mouth"),
        (" Mouth ", ("mouth",), "mouth"),
        ("nose,mouth,nose", ("mouth", "nose"), "mouth,nose"),
        ("eyes", ("eyes",), "eyes"),
        ("eyes+brows", ("eyes", "brows"), "eyes,brows"),
        ("hair,ears", ("ears", "hair"), "ears,hair"),
        ("skin", ("skin",), "skin"),
    ],
)
def test_regions_are_understood(text: str, regions: tuple[str, ...], name: str) -> None:
    keep = Keep.parse(text)
    assert keep.regions == regions
    assert keep.name == name
    assert keep.mask is None
    assert keep.nothing == (not regions)


def test_eyes_are_kept_with_glasses_but_without_brows() -> None:
    assert Keep.parse("eyes").classes == (CLASSES.index("eye"), CLASSES.index("glasses"))
    assert CLASSES.index("brow") in Keep.parse("eyes,brows").classes


def test_existing_file_is_a_mask(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.touch()
    keep = Keep.parse(str(path))
    assert keep.mask == path
    assert keep.name == "mask"
    assert not keep.nothing
    assert keep.classes == ()


@pytest.mark.parametrize(
    "text", ["lips", "mouth,chin", "", ",", "none,mouth", "absent.png", "poly " + "1,2 " * 99]
)
def test_anything_else_is_refused_with_the_names(text: str) -> None:
    with pytest.raises(UsageError, match="use none, mouth, nose, eyes, brows, ears, skin, hair"):
        Keep.parse(text)


# --- polygons


@pytest.mark.parametrize(
    "text", [TRIANGLE, " Polygon: 10,5  30,5 20,25 ", "polygon:10, 5 30 ,5 20.0,25."]
)
def test_polygon_is_understood(text: str) -> None:
    keep = Keep.parse(text)
    assert keep.polygons == (((10, 5), (30, 5), (20, 25)),)
    assert keep.name == "polygon"
    assert not keep.nothing
    assert keep.classes == ()


def test_array_of_points_is_the_polygon_of_the_same_text() -> None:
    points = np.array([[10, 5], [30, 5], [20, 25]])
    assert Keep.enclosed(points) == Keep.parse(TRIANGLE)
    assert Keep.enclosed(points.astype(np.float32)) == Keep.parse(TRIANGLE)


def test_several_polygons_are_kept_together() -> None:
    both = Keep.parse(TRIANGLE + ";40,5 45,5 45,10 40,10")
    alone = Keep.parse("polygon:40,5 45,5 45,10 40,10").polygon_mask((30, 50))
    assert alone.sum() == 6 * 6  # edges included
    first = Keep.parse(TRIANGLE).polygon_mask((30, 50))
    assert np.array_equal(both.polygon_mask((30, 50)), first | alone)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("polygon:", "Polygon 1 has too few points, 0"),
        ("polygon:1,2 3,4", "Polygon 1 has too few points, 2"),
        (TRIANGLE + ";", "Polygon 2 has too few points, 0"),
        ("polygon:1,2 3,4 5", "'5' in polygon 1 is no point"),
        ("polygon:1,2 3,4 5,nan", "'5,nan' in polygon 1 is no point"),
        ("polygon:1,2 3,4 5;6", "'5' in polygon 1 is no point"),
        ("polygon:1,2 3,4 900000,6", "point beyond 100000 pixels"),
    ],
)
def test_polygon_that_is_none_is_refused(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Keep.parse(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("polygon:" + "1" * 8000, "'1111.*' in polygon 1 is no point"),
        ("polygon:1,2 3,4 5," + "6" * 33, "in polygon 1 is no point"),
        ("polygon:1,2 3,4 5,6" + " ,6" * 8000, "in polygon 1 is no point"),
        (";".join([TRIANGLE] + [TRIANGLE.removeprefix("polygon:")] * 100), "101 polygons"),
        ("polygon:" + "1,2 " * 16_000, "takes 64008 characters, more than 64000"),
        ("mouth," * 11_000, "takes 66000 characters"),
    ],
)
def test_text_that_is_too_long_is_refused_in_a_short_sentence(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as refused:
        Keep.parse(text)
    assert len(str(refused.value)) < 200


def test_number_may_have_as_many_digits_as_python_writes() -> None:
    points = np.array([[10 / 3, 5 / 7], [-300.1, 1e-7], [2e4 / 3, 99999.0]])
    text = "polygon:" + " ".join(f"{x:.17f},{y:.17f}" for x, y in points)
    assert np.allclose(Keep.parse(text).polygons[0], points)


def test_many_polygons_need_no_more_memory_than_a_few() -> None:
    corner = TRIANGLE.removeprefix("polygon:")
    keep = Keep.parse(";".join([TRIANGLE] + [corner] * 99))
    tracemalloc.start()
    mask = keep.polygon_mask((1000, 1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(mask, Keep.parse(TRIANGLE).polygon_mask((1000, 1000)))
    assert peak < 5 * mask.nbytes


def test_array_that_is_no_polygon_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"must be points \[p, 2\], got \[4, 3\]"):
        Keep.enclosed(np.zeros((4, 3)))
    with pytest.raises(UsageError, match="beyond"):
        Keep.enclosed(np.full((3, 2), np.nan))


def test_polygon_over_the_edge_of_the_photograph_is_cut() -> None:
    mask = polygon_mask([(-50, -50), (9, -50), (9, 4), (-50, 4)], (20, 30))
    assert mask.shape == (20, 30)
    assert mask[:5, :10].all()
    assert mask.sum() == 5 * 10


def test_polygon_beside_the_photograph_is_refused() -> None:
    with pytest.raises(PhotoError, match="lies outside the photograph of 30 x 20 pixels"):
        polygon_mask([(40, 5), (50, 5), (45, 9)], (20, 30))
    with pytest.raises(PhotoError, match="outside"):
        Keep.parse(TRIANGLE + ";40,5 50,5 45,9").polygon_mask((30, 35))


# --- margins


@pytest.mark.parametrize(
    ("text", "size", "unit"),
    [
        ("3px", 3, "px"),
        ("1.5mm", 1.5, "mm"),
        ("0px", 0, "px"),
        (" 2 MM ", 2, "mm"),
        (".5px", 0.5, "px"),
    ],
)
def test_margin_is_understood(text: str, size: float, unit: str) -> None:
    assert Margin.parse(text) == Margin(size, unit)


@pytest.mark.parametrize("text", ["3", "", "px", "-1px", "3 cm", "1e3px", "nanpx", "1,5mm"])
def test_margin_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no margin; give pixels of the photograph or"):
        Margin.parse(text)


def test_margin_that_is_too_long_is_refused_in_a_short_sentence() -> None:
    with pytest.raises(UsageError, match=r"^'1{37}\.\.\.' is no margin") as refused:
        Margin.parse("1" * 8000)
    assert len(str(refused.value)) < 150
    with pytest.raises(UsageError, match="is no margin"):
        Margin.parse("1" * 31 + "px")
    assert Margin.parse("1." + "0" * 28 + "px") == Margin(1, "px")


@pytest.mark.parametrize(("text", "limit"), [("201px", "200px"), ("30.5mm", "30mm")])
def test_margin_of_half_a_face_is_refused(text: str, limit: str) -> None:
    with pytest.raises(UsageError, match=f"more than {limit}"):
        Margin.parse(text)


def test_millimetres_are_on_the_scale_of_the_pupils() -> None:
    assert Margin.parse("2mm").pixels(eye_distance_px=126) == pytest.approx(4)
    assert Margin.parse("2px").pixels(eye_distance_px=126) == 2
