import pytest

from vera.check import check
from vera.cli import main
from vera.contract import ENGINES
from vera.errors import EngineError

_INFO = {"cpu": "avx2", "openmp": True, "cuda": False, "architectures": []}


def rows(folder, engines, build_info=lambda: _INFO) -> dict[str, tuple[str, bool]]:
    found = check(folder, build_info=build_info, open_engines=lambda bundle: engines)
    return {row.name: (row.value, row.ok) for row in found}


def test_sound_installation_is_ok_in_every_row(bundle_folder, fake_engines):
    found = rows(bundle_folder, fake_engines)
    assert all(ok for _, ok in found.values()), found
    assert found["extension cpu"][0] == "avx2"
    assert found["extension openmp"][0] == "yes"
    assert found["extension architectures"][0] == "none"
    assert "CPUExecutionProvider" in found["providers"][0]
    assert found["bundle"][0] == "fake 0"
    assert found["hashes"][0] == f"all {len(ENGINES) + 1} files as in the manifest"


def test_every_engine_is_run(bundle_folder, fake_engines):
    rows(bundle_folder, fake_engines)
    saved = {name for name, spec in ENGINES.items() if spec.saved}
    assert set(fake_engines.calls) == set(ENGINES) - saved


def test_installed_extension_is_described(bundle_folder, fake_engines):
    found = rows(bundle_folder, fake_engines, build_info=None)
    assert {"extension cpu", "extension openmp", "extension cuda"} <= found.keys()


def test_missing_extension_is_broken(bundle_folder, fake_engines):
    def build_info():
        raise ImportError("no _C")

    value, ok = rows(bundle_folder, fake_engines, build_info)["extension"]
    assert not ok
    assert "install the package again" in value


def test_wrong_hash_is_broken(bundle_folder, fake_engines):
    (bundle_folder / "parser.onnx").write_bytes(b"other")
    value, ok = rows(bundle_folder, fake_engines)["bundle"]
    assert not ok
    assert "parser.onnx was changed or damaged" in value


def test_failing_engine_is_broken(bundle_folder, fake_engines):
    def fail(**inputs):
        raise EngineError("Engine encoder failed.")

    fake_engines.overrides["encoder"] = fail
    assert rows(bundle_folder, fake_engines)["engines"] == ("Engine encoder failed.", False)


def test_command_counts_what_is_broken_and_exits_with_one(tmp_path, capsys):
    assert main(["check", "--bundle", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert "BROKEN" in told
    assert "There is no bundle here" in told
    assert told.endswith("1 broken\n")


@pytest.mark.slow
def test_empty_engine_file_is_broken(bundle_folder, capsys):
    assert main(["check", "--bundle", str(bundle_folder)]) == 1
    assert "Engine detector failed" in capsys.readouterr().out
