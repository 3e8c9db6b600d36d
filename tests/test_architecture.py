"""Rules about the whole tree that no single module can hold."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
_SOURCES = ("runtime", "export", "csrc", "tests", "bench", "triton_models")
_SUFFIXES = {".py", ".pyi", ".cpp", ".cu", ".h", ".cuh"}
_HEAVY = {"torch", "onnx", "onnxscript", "tensorrt", "vera_export"}


def sources(*rooms: str) -> list[Path]:
    return sorted(
        path
        for room in rooms
        for path in (_ROOT / room).rglob("*")
        if path.suffix in _SUFFIXES and "__pycache__" not in path.parts
    )


def imports(path: Path, *, everywhere: bool = True) -> set[str]:
    """Modules that a file imports, dotted; at its top level only unless ``everywhere``."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return found


def project() -> dict:
    return tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))


def test_version_of_the_changelog_is_the_package_s():
    top = re.search(r"^## \[(.+?)\]", (_ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert top is not None
    assert top[1] == project()["project"]["version"]


@pytest.mark.parametrize(
    "path", sources("runtime/vera"), ids=lambda path: str(path.relative_to(_ROOT))
)
def test_runtime_imports_nothing_heavy_and_never_the_export(path):
    assert not {name.split(".")[0] for name in imports(path)} & _HEAVY


def test_only_vera_ops_touches_the_extension():
    touching = {
        path.relative_to(_ROOT / "runtime/vera").parts[0]
        for path in sources("runtime/vera")
        if "vera._C" in imports(path) and path.suffix == ".py"
    }
    assert touching == {"ops"}


def test_triton_models_import_the_runtime_only():
    for path in sources("triton_models"):
        assert not {name.split(".")[0] for name in imports(path)} & _HEAVY


def test_csrc_knows_no_torch():
    for path in sources("csrc"):
        assert not re.search(r"#include\s*[<\"](torch|c10|ATen)/", path.read_text("utf-8")), path


def test_no_file_is_longer_than_400_lines():
    long = {
        str(path.relative_to(_ROOT)): lines
        for path in sources(*_SOURCES)
        if (lines := len(path.read_text("utf-8").splitlines())) > 400 and path.suffix != ".pyi"
    }
    assert long == {}


def test_no_module_is_a_drawer_for_everything():
    names = {path.stem for path in sources(*_SOURCES)}
    assert not names & {"utils", "helpers", "common", "misc", "manager"}


def test_both_packages_are_typed_and_shipped_without_tests():
    packages = project()["tool"]["scikit-build"]["wheel"]["packages"]
    assert packages == ["runtime/vera", "export/vera_export"]
    for package in packages:
        assert (_ROOT / package / "py.typed").exists()
        assert not list((_ROOT / package).rglob("test_*.py"))


def test_runtime_s_dependencies_are_without_torch():
    names = " ".join(project()["project"]["dependencies"])
    assert "torch" not in names
    assert "cuda" not in names


def test_readme_begins_with_the_two_commands_that_ci_runs():
    readme = (_ROOT / "README.md").read_text("utf-8")
    commands = re.findall(r"^    (pip install .+)$", readme, re.M)
    assert commands == [
        'pip install ".[demo]" && vera demo --out demo/',
        'pip install -e ".[test]" && pytest',
    ]


def test_subcommands_of_the_readme_exist():
    from vera.cli import main

    readme = (_ROOT / "README.md").read_text("utf-8")
    for command in set(re.findall(r"^vera (\w+)", readme, re.M)):
        assert main([command, "--help"]) == 0, command


def test_every_message_of_troubleshooting_is_in_the_code():
    """A key of the table is a piece of the message as it stands in the source."""
    code = "\n".join(path.read_text("utf-8") for path in sources("runtime", "export"))
    code = re.sub(r"\"\s*\n\s*f?\"", "", code)  # join literals that the line length split
    code += "".join(path.read_text("utf-8") for path in (_ROOT / "deploy/helm").rglob("*.yaml"))
    table = (_ROOT / "docs/troubleshooting.md").read_text("utf-8")
    keys = re.findall(r"^\| `(.+?)` \|", table, re.M)
    assert len(keys) > 15
    assert [key for key in keys if key not in code] == []


# Each room may import those before it.
_ORDER = (
    *("errors", "contract", "report", "bundle", "versions", "engines", "ops", "check", "pixels"),
    *("files", "request", "face", "region", "rendering", "gate", "identity", "scheduling", "case"),
    *("wire", "client", "anonymizer", "batch", "page", "rating", "evaluation", "editing"),
    *("serving", "launch", "demo", "benchmark", "commands", "cli", "__main__"),
)
# Modules directly in vera/ that belong to a room.
_FRONT = {"settings": "request", "key": "request", "judge": "gate"}


def _room(module: str) -> str:
    name = module.split(".")[1]
    return _FRONT.get(name, name)


@pytest.mark.parametrize(
    "path", sources("runtime/vera"), ids=lambda path: str(path.relative_to(_ROOT))
)
def test_imports_of_the_runtime_run_with_the_arrows(path):
    parts = path.relative_to(_ROOT / "runtime").with_suffix("").parts
    if parts[1] in ("__init__", "_C"):
        return
    own = _ORDER.index(_room(".".join(parts)))
    rooms = {_room(name) for name in imports(path) if name.startswith("vera.")}
    rooms -= {"_C", "__version__"}
    assert rooms <= set(_ORDER)
    assert not {room for room in rooms if _ORDER.index(room) > own}
