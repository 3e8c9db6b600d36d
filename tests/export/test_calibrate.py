"""The gate's threshold is read from pairs of different people."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vera.errors import UsageError
from vera_export.calibrate import calibrate, impostor_cosines
from vera_export.models.embedder import Embedder, EmbedderConfig
from vera_export.training.loop import write_weights


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """46 different noise pictures, which give 1035 pairs."""
    random = np.random.default_rng(0)
    points = {}
    for k in range(46):
        small = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{k:02d}.png"), cv2.resize(small, (120, 120)))
        points[f"{k:02d}.png"] = {"points": [[40, 50], [75, 50], [57, 70], [43, 90], [72, 90]]}
    (tmp_path / "landmarks.json").write_text(json.dumps(points))
    return tmp_path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """An untrained embedder: the percentile is a matter of counting, not of quality."""
    torch.manual_seed(0)
    model = Embedder(EmbedderConfig.tiny())
    folder = tmp_path / "weights"
    folder.mkdir()
    write_folded(model, folder / "embedder.safetensors")
    return folder


def write_folded(model: Embedder, path: Path) -> None:
    """Stores the embedder as training stores it."""
    from dataclasses import asdict, replace

    from vera_export.models.convolution import fold

    folded = fold(model.eval())
    write_weights(path, folded.state_dict(), asdict(replace(model.config, norm=False)), None)


def test_the_stated_share_of_impostor_pairs_lies_at_or_above_the_threshold(
    photographs: Path, weights: Path
) -> None:
    found = calibrate(photographs, weights, 0.05)
    assert found.pairs == 46 * 45 // 2
    assert found.false_accept_rate == pytest.approx(0.05, abs=0.002)


def test_a_larger_rate_gives_a_stricter_threshold(photographs: Path, weights: Path) -> None:
    strict, lenient = (calibrate(photographs, weights, r).threshold for r in (0.2, 0.01))
    assert strict < lenient


def test_few_photographs_are_refused(photographs: Path, weights: Path) -> None:
    listed = photographs / "landmarks.json"
    points = dict(list(json.loads(listed.read_text()).items())[:10])
    listed.write_text(json.dumps(points))
    with pytest.raises(UsageError, match="10 photographs give 45 pairs"):
        calibrate(photographs, weights, 0.05)


def test_each_pair_counts_once() -> None:
    vectors = np.eye(3, dtype=np.float32)
    assert impostor_cosines(vectors).tolist() == [0.0, 0.0, 0.0]
