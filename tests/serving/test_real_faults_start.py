"""Environments in which the server in nvidia-pytriton would damage photographs are refused."""

import sys
import sysconfig
import venv
from pathlib import Path

import client_program
import numpy as np
import pytest
import real_triton

pytestmark = pytest.mark.skipif(
    int(np.__version__.split(".")[0]) < 2, reason="the tests run with NumPy 1"
)


def test_model_refuses_to_be_served_with_numpy_2(repository, started):
    with pytest.raises(RuntimeError, match="corrupts tensors of NumPy 2") as told:
        started(repository, interpreter=Path(sys.executable))
    assert "pip install 'numpy<2' in its environment" in str(told.value)


def test_command_refuses_to_serve_with_numpy_2(repository, tmp_path):
    venv.create(tmp_path / "env", symlinks=True)
    site = tmp_path / "env" / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    installed = real_triton.python()
    assert installed is not None
    (site / "all.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    (site / "pytriton").symlink_to(real_triton.site(installed) / "pytriton")
    given = ("--server", "bundled", "--python", tmp_path / "env" / "bin" / "python")
    ports = (f"--{name}-port=0" for name in ("http", "grpc", "metrics"))
    ended = client_program.Ended.of(
        client_program.vera_command("serve", repository, *given, *ports)
    )
    assert ended.code == 1
    (sentence,) = ended.error.splitlines()
    assert sentence.startswith("vera: The server in nvidia-pytriton damages tensors with NumPy 2")
