"""A repository for cases alone, without the single engines; and what its flags come to."""

import re
from pathlib import Path

import pytest

from vera.bundle import load_bundle
from vera.errors import UsageError
from vera.launch.repository import check_repository
from vera.wire.server import Limits
from vera_export.cli import main
from vera_export.repository.options import BACKENDS, RepositoryOptions


@pytest.fixture
def rendered(tmp_path: Path):
    """Runs ``vera-export repository`` with these flags."""

    def rendered(*flags: str) -> Path:
        out = tmp_path / "models"
        assert main(["repository", "--out", str(out), *flags]) == 0
        return out

    return rendered


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_engines_there_is_no_model_but_the_one_for_cases(rendered, backend):
    out = rendered("--backend", backend, "--engines", "none")
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"anonymize"}
    assert not (out / "build_plans.sh").exists()
    assert check_repository(out).plans == ()
    assert load_bundle(out / "anonymize/1/bundle").digest == load_bundle().digest


def test_engines_are_rendered_unless_they_are_left_out(rendered):
    models = {path.parent.name for path in rendered("--backend", "python").glob("*/config.pbtxt")}
    assert models == {"anonymize", *load_bundle().engines}


def test_another_choice_of_engines_is_refused():
    with pytest.raises(UsageError, match="must be all or none, got 'some'"):
        RepositoryOptions(engines="some")


def test_every_limit_is_a_flag_that_reaches_the_server(rendered):
    names = list(Limits.__dataclass_fields__)
    values = {name: str(11 + place) for place, name in enumerate(names)}
    flags = [f"--max-{name.replace('_', '-')}={value}" for name, value in values.items()]
    out = rendered("--backend", "python", "--engines", "none", *flags)
    config = (out / "anonymize/config.pbtxt").read_text("utf-8")
    told = re.findall(r'key: "max_(\w+)"\s+value \{\s+string_value: "([\d.]+)"', config)
    assert {name: float(value) for name, value in told} == {k: float(v) for k, v in values.items()}
