"""Checkpoints come back, stay small, and are refused in a sentence when something is wrong."""

from pathlib import Path

import pytest
import torch
from torch import nn

from vera.errors import UsageError
from vera_export.training.checkpoint import (
    gathered,
    is_checkpoint,
    read_checkpoint,
    scatter,
    write_checkpoint,
)


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {f"t{i}": torch.randn(100, 10).half().float() for i in range(5)}


def test_tensors_and_state_come_back(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, tensors(), {"steps": 7})
    found, state = read_checkpoint(tmp_path)
    assert state == {"steps": 7}
    assert all(torch.equal(found[k], v) for k, v in tensors().items())


def test_no_file_is_larger_than_the_limit(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, tensors(), {}, limit=6000)
    sizes = [p.stat().st_size for p in tmp_path.glob("*.npz")]
    assert len(sizes) == 3
    assert max(sizes) <= 6000
    assert len(read_checkpoint(tmp_path)[0]) == 5


def test_a_second_checkpoint_replaces_the_first_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, tensors(), {"steps": 1}, limit=6000)
    first = {p.name for p in tmp_path.glob("*.npz")}
    write_checkpoint(tmp_path, {"only": torch.ones(3)}, {"steps": 2})
    second = {p.name for p in tmp_path.iterdir()}
    assert second == {"checkpoint-1-00.npz", "checkpoint.json"}
    assert not first & second
    assert list(read_checkpoint(tmp_path)[0]) == ["only"]


def test_a_write_that_fails_leaves_the_checkpoint_before_it(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, tensors(), {"steps": 1})
    with pytest.raises(UsageError, match="t0 alone takes"):
        write_checkpoint(tmp_path, tensors(), {"steps": 2}, limit=100)
    assert read_checkpoint(tmp_path)[1] == {"steps": 1}


def test_a_tensor_that_half_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not finite"):
        write_checkpoint(tmp_path, {"huge": torch.full((2,), 1e9)}, {})


def test_a_damaged_or_missing_checkpoint_is_refused_in_a_sentence(tmp_path: Path) -> None:
    assert not is_checkpoint(tmp_path)
    with pytest.raises(UsageError, match="no checkpoint"):
        read_checkpoint(tmp_path)
    write_checkpoint(tmp_path, tensors(), {})
    archive = tmp_path / "checkpoint-0-00.npz"
    for damaged in (b"PK not an archive", archive.read_bytes()[:300]):
        archive.write_bytes(damaged)
        with pytest.raises(UsageError, match="lacks a readable"):
            read_checkpoint(tmp_path)


def test_modules_are_told_apart_and_a_misfit_is_named() -> None:
    modules = {"a": nn.Linear(2, 3), "b": nn.Linear(3, 2)}
    fresh = {"a": nn.Linear(2, 3), "b": nn.Linear(3, 2), "c": nn.Linear(1, 1)}
    assert scatter(gathered(modules), fresh) == ["a", "b"]
    assert torch.equal(fresh["b"].weight, modules["b"].weight)
    with pytest.raises(UsageError, match="checkpoint's a does not fit"):
        scatter(gathered(modules), {"a": nn.Linear(5, 5)})
