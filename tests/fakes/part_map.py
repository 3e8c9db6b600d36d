"""A part map of a face on the FFHQ template, and where it lies in a photograph."""

import cv2
import numpy as np

from vera.contract import CLASSES
from vera.pixels.align import FFHQ, Box, crop_matrix, photo_box

SCALE = 3.0


def class_number(name: str) -> int:
    """The number of a class."""
    return CLASSES.index(name)


def draw_ellipse(labels: np.ndarray, name: str, x: int, y: int, width: int, height: int) -> None:
    """Fills an upright ellipse with a class; width and height are half axes."""
    cv2.ellipse(labels, (x, y), (width, height), 0, 0, 360, class_number(name), -1)


def face_labels(*, without: tuple[str, ...] = (), width: int = 62, chin: int = 0) -> np.ndarray:
    """A face on the FFHQ template."""
    labels = np.zeros((256, 256), np.uint8)
    draw_ellipse(labels, "hair", 128, 110, 88, 92)
    cv2.rectangle(labels, (92, 190), (164, 255), class_number("neck"), -1)
    draw_ellipse(labels, "skin", 128, 146 + chin, width, 80)
    for side, x in ((-1, 96), (1, 160)):
        draw_ellipse(labels, "ear", 128 + side * (width + 5), 140, 8, 18)
        draw_ellipse(labels, "eye", x, 120, 12, 5)
        draw_ellipse(labels, "brow", x, 104, 16, 3)
    draw_ellipse(labels, "nose", 128, 145, 13, 20)
    draw_ellipse(labels, "mouth", 128, 186, 28, 10)
    for name in without:
        labels[labels == class_number(name)] = class_number("skin")
    return labels


def face_shares(labels: np.ndarray) -> np.ndarray:
    """Class probabilities as a parser gives them: sure inside, unsure at borders."""
    hot = np.stack([labels == k for k in range(len(CLASSES))]).astype(np.float32)
    soft = np.stack([cv2.GaussianBlur(plane, (0, 0), 1.0) for plane in hot])
    return (soft / soft.sum(axis=0)).astype(np.float32)


def face_place() -> tuple[np.ndarray, Box]:
    """The face three times as large in a photograph of 860 x 900: its matrix and its box."""
    matrix = crop_matrix(FFHQ.points * SCALE + (40, 60))
    return matrix, photo_box(matrix, 256, (900, 860))


def at_photo_scale(mask: np.ndarray, matrix: np.ndarray, box: Box) -> np.ndarray:
    """A crop mask [256, 256] over the box, by the nearest pixel."""
    y, x = np.mgrid[box.top : box.bottom, box.left : box.right]
    crop_x, crop_y = (matrix[i, 0] * x + matrix[i, 1] * y + matrix[i, 2] for i in (0, 1))
    columns, rows = crop_x.round().astype(int), crop_y.round().astype(int)
    known = (columns >= 0) & (columns < 256) & (rows >= 0) & (rows < 256)
    return known & mask[rows.clip(0, 255), columns.clip(0, 255)]
