"""Model repositories: what is in them, and that they are there whole or not at all."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vera.bundle import embedded_bundle, load_bundle
from vera.errors import BundleError, OutputError, UsageError
from vera.launch.repository import MARK, check_repository
from vera.wire.server import Limits
from vera_export.repository.options import BACKENDS, RepositoryOptions
from vera_export.repository.render import render


def options(backend: str = "python", **changes) -> RepositoryOptions:
    device = "gpu" if backend == "tensorrt" else "cpu"
    return RepositoryOptions(**{"backend": backend, "device": device, **changes})


@pytest.fixture(scope="module", params=BACKENDS)
def rendered(request, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("rendered") / request.param
    render(out, None, options(request.param))
    return out


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rendered") / "onnx"
    render(out, None, options("onnxruntime"))
    return out


@pytest.fixture
def tensorrt(tmp_path: Path) -> Path:
    render(tmp_path / "models", None, options("tensorrt"))
    return tmp_path / "models"


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_every_engine_of_the_bundle_is_a_model_beside_anonymize(rendered):
    models = {path.parent.name for path in rendered.glob("*/config.pbtxt")}
    assert models == {"anonymize", *load_bundle().engines}
    assert {path.name for path in rendered.iterdir() if path.is_dir()} == models


def test_a_repository_holds_its_own_verified_bundle(rendered):
    own, given = load_bundle(rendered / "anonymize/1/bundle"), load_bundle()
    assert own.digest == given.digest
    assert own.hashes == given.hashes


def test_the_bundle_of_a_repository_shares_no_file_with_the_package(rendered):
    own = rendered / "anonymize/1/bundle/weights.bin"
    assert own.stat().st_ino != (embedded_bundle() / "weights.bin").stat().st_ino


def test_a_repository_rendered_twice_is_the_same_to_the_byte(tmp_path):
    first, second = (tmp_path / name for name in ("first", "second"))
    for out in (first, second):
        render(out, None, options("onnxruntime"))
    assert content(first) == content(second)


def test_rendering_replaces_an_earlier_repository_and_leaves_nothing_beside_it(tmp_path):
    out = tmp_path / "models"
    render(out, None, options("onnxruntime"))
    render(out, None, options("python"))
    assert check_repository(out).backend == "python"
    assert not (out / "detector/1/model.onnx").exists()
    assert list(tmp_path.iterdir()) == [out]


def test_a_folder_that_is_no_repository_is_not_touched(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="no model repository of ours"):
        render(tmp_path, None, options())
    assert content(tmp_path) == {"thesis.txt": b"years of work"}


def test_a_damaged_bundle_leaves_the_earlier_repository_as_it_was(tmp_path):
    out, damaged = tmp_path / "models", tmp_path / "bundle"
    render(out, None, options())
    before = content(out)
    damaged.mkdir()
    for path in embedded_bundle().iterdir():
        (damaged / path.name).symlink_to(path)
    (damaged / "detector.onnx").unlink()
    (damaged / "detector.onnx").write_bytes(b"not the one")
    with pytest.raises(BundleError, match="changed or damaged"):
        render(out, damaged, options())
    assert content(out) == before


def test_an_output_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        render(tmp_path / "file" / "models", None, options())


def test_onnx_models_share_one_copy_of_the_weights(onnx):
    inodes = {path.stat().st_ino for path in onnx.rglob("weights.bin")}
    assert len(inodes) == 1
    assert len(list(onnx.rglob("weights.bin"))) == 1 + len(load_bundle().engines)


def test_an_onnx_model_runs_from_where_triton_finds_it(onnx):
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(onnx / "embedder/1/model.onnx"), providers=["CPUExecutionProvider"]
    )
    (embedding,) = session.run(None, {"face": np.zeros((2, 3, 112, 112), np.float32)})
    assert np.linalg.norm(embedding, axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_plans_are_asked_for_until_the_script_has_built_them(tensorrt, tmp_path):
    with pytest.raises(BundleError, match="11 are not built"):
        check_repository(tensorrt)
    fake = tmp_path / "trtexec"
    fake.write_text(
        "#!/bin/sh\n"
        'for flag; do case "$flag" in\n'
        '  --onnx=*) test -f "${flag#--onnx=}" || exit 3;;\n'
        '  --saveEngine=*) echo plan > "${flag#--saveEngine=}";;\n'
        "esac; done\n"
    )
    fake.chmod(0o755)
    environment = {**os.environ, "TRTEXEC": str(fake)}
    subprocess.run([tensorrt / "build_plans.sh"], check=True, env=environment)
    assert len(check_repository(tensorrt).plans) == 11
    assert not list(tensorrt.rglob("*.part"))


def test_a_plan_that_fails_to_build_ends_the_script(tensorrt):
    environment = {**os.environ, "TRTEXEC": "false"}
    assert subprocess.run([tensorrt / "build_plans.sh"], env=environment).returncode == 1


def test_profiles_of_plans_name_every_input_with_growing_shapes(tensorrt):
    script = (tensorrt / "build_plans.sh").read_text()
    lines = re.findall(r"^plan (\w+) (\S+) \\\n  (\S+) (\S+) (\S+)$", script, re.MULTILINE)
    bundle = load_bundle()
    assert [line[0] for line in lines] == list(bundle.engines)
    for name, file, *shapes in lines:
        assert file == bundle.engines[name].name
        smallest, typical, largest = map(read_shapes, shapes)
        assert list(smallest) == list(typical) == list(largest)
        for tensor, low in smallest.items():
            assert all(np.array(low) <= typical[tensor])
            assert all(np.array(typical[tensor]) <= largest[tensor])
    assert "photo:1x3x32x32 photo:1x3x320x320 photo:8x3x640x640" in script


def read_shapes(text: str) -> dict[str, list[int]]:
    pairs = (part.split(":") for part in text.split(","))
    return {name: [int(side) for side in dims.split("x")] for name, dims in pairs}


def test_a_changed_model_is_refused_and_a_tuned_configuration_is_not(tmp_path):
    out = tmp_path / "models"
    render(out, None, options())
    with (out / "detector/config.pbtxt").open("a") as file:
        file.write("# tuned\n")
    check_repository(out)
    with (out / "detector/1/model.py").open("a") as file:
        file.write("import os\n")
    with pytest.raises(BundleError, match=r"detector/1/model.py was changed or damaged"):
        check_repository(out)


def test_repository_is_rendered_without_torch_and_onnx(tmp_path):
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxscript'): sys.modules[name] = None\n"
        "from vera_export.cli import main\n"
        f"sys.exit(main(['repository', '--out', {str(tmp_path / 'models')!r},"
        " '--backend', 'onnxruntime', '--slots', '3', '--max-steps', '7']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "a model repository for onnxruntime on cpu" in done.stdout
    config = (tmp_path / "models/anonymize/config.pbtxt").read_text()
    assert re.search(r'"max_steps"\s+value {\s+string_value: "7"', config)
    assert re.search(r'"slots"\s+value {\s+string_value: "3"', config)


def test_the_mark_is_json_without_a_date_or_a_path(rendered):
    mark = json.loads((rendered / MARK).read_text())
    assert set(mark) == {
        *("backend", "bundle", "contract", "device", "files", "plans", "protocol", "vera"),
    }
    assert not any(Path(name).is_absolute() for name in mark["files"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backend": "pytorch"}, "no back end"),
        ({"device": "tpu"}, "no back end"),
        ({"backend": "tensorrt", "device": "cpu"}, "GPU only"),
        ({"slots": 0}, "slots of a repository must be at least 1"),
        ({"queue": 0}, "queue of a repository must be at least 1"),
        ({"limits": Limits(seconds=float("nan"))}, "seconds of a repository"),
    ],
)
def test_options_that_make_no_sense_are_told(changes, message):
    with pytest.raises(UsageError, match=message):
        RepositoryOptions(**changes)
