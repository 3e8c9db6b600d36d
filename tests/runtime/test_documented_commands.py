"""Every `vera ...` line of the documents and of the commands' own help is a command that exists."""

import argparse
import re
import shlex
from pathlib import Path

import pytest

from vera import cli
from vera.commands import anonymize, edit, evaluate

_ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```\w*\n(.*?)^```|^((?:    .*\n)+)", re.M | re.S)
_HELP = (anonymize.EXAMPLES, edit._EXAMPLES, evaluate.EXAMPLES)


def lines(text: str) -> list[str]:
    """Commands of ``text``, joined over backslashes, without the remarks beside them."""
    whole = re.sub(r"\s*\\\n\s*", " ", text)
    found = (line.strip() for line in whole.splitlines())
    return [re.split(r"\s{2,}", line)[0] for line in found if line.startswith("vera ")]


def documented() -> list[str]:
    found = [line for text in _HELP for line in lines(text)]
    for document in (_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md"))):
        for fenced, indented in _BLOCK.findall(document.read_text("utf-8")):
            found += lines(fenced or indented)
    return list(dict.fromkeys(found))


@pytest.fixture
def parse(monkeypatch):
    """Parses a command line with the real parser; what it would run is not run."""
    seen = []
    real = argparse.ArgumentParser.parse_args

    def parse_args(self, *arguments):
        seen.append(real(self, *arguments))
        seen[-1].command = lambda args, opened: 0
        return seen[-1]

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    return lambda line: cli.main(shlex.split(line, comments=True)[1:])


def test_there_are_documented_commands():
    assert len(documented()) > 25


@pytest.mark.parametrize("line", documented())
def test_a_documented_command_is_one_that_the_parser_takes(parse, line, capsys):
    assert parse(line) == 0, capsys.readouterr().err
