"""The command line without engines, and what it wrote."""

from pathlib import Path

from fake_anonymizer import FakeAnonymizer

from vera.cli import main


def fake(bundle, threads):
    return FakeAnonymizer(bundle, threads=threads)


def anonymize(*arguments: object, open_anonymizer=fake) -> int:
    return main(["anonymize", *map(str, arguments)], open_anonymizer=open_anonymizer)


def images(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in (".png", ".jpg")]
