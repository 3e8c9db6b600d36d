"""The server image: what it is made from, who it runs as, and that its commands exist.

Nothing here builds it.
"""

import json
import re
import shlex
import tomllib

import pytest
from packaging.requirements import Requirement


@pytest.fixture
def dockerfile(deploy):
    """Instructions in order, as (word, rest); comments gone, continued lines joined."""
    text = (deploy / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


@pytest.fixture
def project(deploy):
    with (deploy.parent / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]


def of(dockerfile, word):
    return [rest for name, rest in dockerfile if name == word]


def pinned(file):
    lines = file.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    found = {}
    for line in lines:
        if line and not line.startswith("#"):
            requirement, digest = line.split("--hash=")
            assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
            name, version = requirement.strip().split("==")
            found[name.lower().replace("_", "-")] = version
    return found


def test_base_images_are_named_with_a_version(dockerfile):
    bases = dict(rest.split("=", 1) for rest in of(dockerfile, "ARG") if "_IMAGE=" in rest)
    assert set(bases) == {"BUILD_IMAGE", "TRITON_IMAGE"}
    assert all(re.search(r":\d+\.\d+", image) for image in bases.values())
    assert [rest.split()[0] for rest in of(dockerfile, "FROM")] == [
        f"${{{name}}}" for name in bases
    ]


def test_triton_is_new_enough(dockerfile):
    # Holes in older ones are known; from 26.05 on clients' shared memory is shut by default.
    (image,) = [rest for rest in of(dockerfile, "ARG") if rest.startswith("TRITON_IMAGE")]
    year, month = map(int, re.search(r":(\d+)\.(\d+)-py3$", image).groups())
    assert (year, month) >= (26, 7)


def test_it_does_not_run_as_root(dockerfile):
    users = of(dockerfile, "USER")
    assert users == ["1000:1000"]
    after = [name for name, _ in dockerfile][[*dockerfile].index(("USER", users[0])) :]
    assert not {"RUN", "COPY", "ADD"} & set(after)


def test_what_it_copies_exists_and_is_in_the_context(dockerfile, deploy):
    ignored = (deploy / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*"
    kept = [line[1:] for line in ignored if line.startswith("!")]
    for rest in of(dockerfile, "COPY"):
        if not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (deploy.parent / source).exists(), source
                assert any(re.fullmatch(k.replace("*", ".*"), source) for k in kept), source


def test_the_command_it_runs_and_the_one_it_renders_with_exist(dockerfile, command_line):
    (command,) = of(dockerfile, "CMD")
    program, *flags = json.loads(command)
    assert program == "vera"
    served = command_line.parse_args(flags)
    (rendering,) = [rest for rest in of(dockerfile, "RUN") if "vera-export repository" in rest]
    (flags,) = re.findall(r"vera-export (repository .*?) &&", rendering)
    defaults = dict(rest.split("=", 1) for rest in of(dockerfile, "ARG") if "=" in rest)
    for name, value in defaults.items():
        flags = flags.replace(f"${{{name}}}", value.strip('"'))
    rendered = command_line.parse_args(shlex.split(flags))
    assert served.repository == rendered.out
    assert rendered.engines == "none"


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_requirements_are_pinned_within_the_projects_ranges(deploy, project, device):
    found = pinned(deploy / f"requirements-{device}.txt")
    wanted = [Requirement(text) for text in project["dependencies"]]
    extras = project["optional-dependencies"]
    # Of the client's, only Triton's schema of configurations, which the repository is written by.
    wanted += [r for r in map(Requirement, extras.get("client", ())) if r.name == "tritonclient"]
    if device == "gpu":
        wanted += [Requirement(text) for text in extras["gpu"]]
    for requirement in wanted:
        name = requirement.name.lower()
        if device == "gpu" and name == "onnxruntime":
            name = "onnxruntime-gpu"  # the same module with CUDA
        assert requirement.specifier.contains(found[name]), requirement


def test_the_repositorys_schema_is_installed(deploy):
    assert "tritonclient" in pinned(deploy / "requirements-cpu.txt")


def test_torch_is_not_in_the_image(deploy):
    for file in deploy.glob("requirements-*.txt"):
        assert "torch" not in pinned(file)
