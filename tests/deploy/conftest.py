"""What deploy/ holds, rendered and parsed by the tools' own code."""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm" / "vera"

# Helm's own linter and engine, in a process of its own: its Go runtime takes signals.
_RENDER = """
import json, sys
import helm_python as helm
chart, values = sys.argv[1:]
values = json.loads(values)
found = helm.lint(chart, values, strict=True)
if found["errors"]:
    sys.exit(str(found["errors"]))
with helm.Chart.load(chart) as loaded:
    print(json.dumps(loaded.render(values, name="clinic", namespace="vera")))
"""

Documents = list[dict[str, Any]]


class Refused(Exception):
    """Helm would not render these values; the text is what it said."""


@cache
def _rendered(values: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", _RENDER, str(CHART), values], capture_output=True, text=True
    )
    if done.returncode:
        raise Refused(done.stderr)
    return json.loads(done.stdout)


def render(**values: Any) -> Documents:
    """The objects of the chart for these values, with an image as every user has to give one."""
    values = {"image": {"repository": "registry.example.org/vera-server"}, **values}
    texts = _rendered(json.dumps(values, sort_keys=True))
    manifests = [text for name, text in sorted(texts.items()) if name.endswith(".yaml")]
    return [document for text in manifests for document in yaml.safe_load_all(text) if document]


@pytest.fixture
def deploy() -> Path:
    return DEPLOY


@pytest.fixture
def chart() -> Callable[..., Documents]:
    return render


@pytest.fixture
def refused() -> type[Exception]:
    return Refused


@pytest.fixture
def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "docker-compose.yml").read_text(encoding="utf-8"))


@pytest.fixture
def command_line() -> argparse.ArgumentParser:
    """The real flags of the two commands that deployments use."""
    from vera.commands import serve
    from vera_export.repository.command import add_repository

    parser = argparse.ArgumentParser(exit_on_error=False)
    whole_flags = partial(argparse.ArgumentParser, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, parser_class=whole_flags)
    serve.add(commands)
    add_repository(commands)
    return parser
