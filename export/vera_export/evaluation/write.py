"""Where the report goes: a folder of its own, and the model card with small pictures beside it."""

from pathlib import Path

from vera_export.evaluation.pictures import write_picture
from vera_export.evaluation.report import fill_card, markdown, to_json
from vera_export.evaluation.run import Report

_LEGENDS = {
    "samples": "Samples: heads of synthetic training people, each with a new identity.",
    "edits": "One code taken from another person at a time; the first column is the sample.",
    "interpolations": "Straight lines between two samples.",
}


def write_report(report: Report, out: Path) -> None:
    """Writes ``report.json``, ``report.md`` and one PNG per contact sheet into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    for name, picture in report.pictures.items():
        write_picture(picture, out / f"{name}.png")
    (out / "report.json").write_text(to_json(report.figures), encoding="utf-8")
    text = f"# Quality report\n\n{markdown(report.figures)}\n{pictures(report, '', '.png')}"
    (out / "report.md").write_text(text, encoding="utf-8")


def write_card(report: Report, card: Path) -> None:
    """Fills the generated part of a model card; its pictures go beside it as ``model-*.jpg``."""
    for name, picture in report.pictures.items():
        write_picture(picture, card.with_name(f"model-{name}.jpg"))
    fill_card(card, markdown(report.figures, 3) + "\n" + pictures(report, "model-", ".jpg"))


def pictures(report: Report, prefix: str, suffix: str) -> str:
    """Markdown that shows the contact sheets."""
    return "\n\n".join(
        f"{_LEGENDS[name]}\n\n![{name}]({prefix}{name}{suffix})" for name in report.pictures
    )
