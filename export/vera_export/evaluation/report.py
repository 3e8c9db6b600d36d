"""The report as Markdown, and its place in the model card."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vera import contract
from vera.errors import UsageError

BEGIN, END = "<!-- evaluate: begin -->", "<!-- evaluate: end -->"

Figures = Mapping[str, Any]


def markdown(report: Figures, level: int = 2) -> str:
    """The whole report; ``level`` is that of its headings."""
    sections = [
        ("Samples against real images", _frechet(report["frechet"])),
        ("Part map of generated images", _parts(report["mask_agreement"])),
        ("Inversion", _inversion(report)),
        ("Identity diversity", _diversity(report["diversity"])),
        ("Disentanglement", _disentanglement(report["disentanglement"])),
        ("Parser, attributes, embedder, detector", _helpers(report)),
    ]
    if networks := report.get("networks"):
        sections.append(("Networks", _networks(networks)))
    mark = "#" * level
    return "\n\n".join([_introduction(report), *(f"{mark} {t}\n\n{b}" for t, b in sections)]) + "\n"


def check_card(card: Path) -> tuple[str, str]:
    """What stands before and after the generated part of a model card.

    Raises:
        UsageError: The card is missing, or has not both markers once, in order.
    """
    if not card.is_file():
        raise UsageError(f"There is no model card {card}; pass an existing Markdown file.")
    before, begin, rest = card.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in after:
        raise UsageError(
            f"{card} must hold the lines {BEGIN} and {END} once each, in this order; add them."
        )
    return before, after


def fill_card(card: Path, text: str) -> None:
    """Replaces what stands between the two markers of a model card; raises as `check_card`."""
    before, after = check_card(card)
    card.write_text(f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}", encoding="utf-8")


def to_json(report: Figures) -> str:
    """The report as JSON, figures rounded to six digits."""
    return json.dumps(_rounded(report), indent=1) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers get three significant digits, None a dash."""
    lines = [list(head), ["---"] * len(head), *([_cell(x) for x in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _introduction(report: Figures) -> str:
    bundle, data = report["bundle"], report["data"]
    return (
        f"Bundle {bundle['name']} {bundle['version']}, seed {report['seed']}; "
        f"{data['train']:,} training and {data['val']} held-out faces. The teachers that judge "
        "here taught VerA's own networks, so none of this is independent evidence of privacy."
    )


def _frechet(f: Figures) -> str:
    rows = [
        ("training images", f["images"], f["samples_to_training"], f["real_halves"]),
        ("held-out images", f["images_held_out"], f["samples_to_held_out"], f["real_to_held_out"]),
    ]
    return (
        f"Fréchet distance on VerA's perceptual features ({f['features']} spatial means, each "
        "scaled by its spread over training images); not comparable with any FID. Samples are what "
        "the product draws: heads of training people with identities mixed from the bank. The last "
        "column is the distance of real images from each other, as many of them: part of any "
        "distance comes from the number of images alone. It does not depend on the generator: "
        "reports may only be compared where it is the same.\n\n"
        + table(("against", "images each", "samples", "other real images"), rows)
    )


def _parts(f: Figures) -> str:
    names = [name for name in contract.CLASSES if name in f]
    return (
        f"The generator's part map against the parser's on the same image, {f['images']} samples, "
        "intersection over union; the mean leaves out glasses, hat and earring.\n\n"
        + table(("mean", *names), [[f["mean"], *(f[name] for name in names)]])
    )


def _inversion(report: Figures) -> str:
    measured = {"held-out faces": report["inversion"]}
    measured |= {name: f["inversion"] for name, f in report["photographs"].items()}
    rows = []
    for name, f in measured.items():
        if f is None:
            continue
        for kind in ("encoder", "inverted"):
            steps = 0 if kind == "encoder" else f["mean_steps"]
            e = f[kind]
            rows.append((name, f["faces"], steps, e["perceptual"], e["psnr_db"], e["miou"]))
    return (
        "The runtime's inversion as the product runs it; the first line of each pair is the "
        "encoder alone. Perceptual distance on VerA's own features; mIoU of the part map, for "
        "photographs against the parser.\n\n"
        + table(("on", "faces", "mean steps", "perceptual", "PSNR dB", "mIoU"), rows)
        + _absent(report)
    )


def _diversity(f: Figures) -> str:
    rows = [
        (people, judge, *(f[people][judge][k] for k in ("mean", "median", "p95", "p99", "largest")))
        for people in ("samples", "real")
        for judge in ("ours", "teacher")
    ]
    return (
        f"Cosines of all pairs of {f['images']} random samples, and of as many training people; "
        "`ours` is VerA's embedder.\n\n"
        + table(("people", "judge", "mean", "median", "95 %", "99 %", "largest"), rows)
    )


def _disentanglement(f: Figures) -> str:
    rows = [
        (code, *(moved[name] for name in contract.HIGH_LEVEL), f["scores"].get(code))
        for code, moved in f["matrix"].items()
    ]
    return (
        f"Row: the code that is taken from another person, {f['images']} samples. Column: how far "
        "the teachers see the attribute move; 1 is the mean difference of two real people. DS: "
        "GAN-Control's score, the product of own over other changes, 1 without any "
        "disentanglement; a code that moves nothing can have a high one, so it is to be read with "
        "the own change. The last row is the product's whole redraw.\n\n"
        + table(("code exchanged", *contract.HIGH_LEVEL, "DS"), rows)
    )


def _helpers(report: Figures) -> str:
    p, a, e = report["parser"], report["attributes"], report["embedder"]
    names = [name for name in contract.CLASSES if name in p]
    held = [
        f"Parser, IoU on {p['faces']} held-out faces:",
        table(("mean", *names), [[p["mean"], *(p[name] for name in names)]]),
        f"Attributes, mean errors on {a['faces']} held-out faces (points in percent of the "
        "distance between the eyes):",
        table(
            ("points", "yaw", "pitch", "roll", "mouth opening", "age", "expression agrees"),
            [[a[k] for k in a if k != "faces"]],
        ),
        f"Embedder on {e['faces']} held-out faces: cosine to the teacher {_cell(e['cosine'])}, "
        f"correlation of pairs' cosines {_cell(e['pair_correlation'])}.",
    ]
    if photographs := report["photographs"]:
        held += [_on_photographs(photographs), _likeness(photographs)]
    return "\n\n".join(held)


def _on_photographs(photographs: Figures) -> str:
    rows = [
        (
            name,
            f["photographs"],
            *(f["detector"][k] for k in (
                "recall", "false_detections", "points_percent", "points_percent_refined")),
            f["parser"]["lips_iou"],
            f["parser"]["eyes_iou"],
        )
        for name, f in photographs.items()
    ]  # fmt: skip
    return (
        "On photographs; points against a face mesh in percent of the distance between the eyes, "
        "by the detector and after the second pass; lips and eyes of the parser against the mesh's "
        "outlines, IoU:\n\n"
        + table(
            ("set", "photographs", "recall", "false", "points", "second pass", "lips", "eyes"), rows
        )
    )


def _likeness(photographs: Figures) -> str:
    rows = []
    for name, f in photographs.items():
        e = f["embedder"]
        for judge in ("ours", "teacher"):
            same, other = e[judge].get("same", {}), e[judge].get("different", {})
            rows.append(
                (name, judge, same.get("smallest"), same.get("median"), other.get("median"),
                 other.get("p95"), other.get("p99"), other.get("largest"), e["pair_correlation"])
            )  # fmt: skip
    head = ("set", "judge", "same: smallest", "same: median", "different: median", "95 %", "99 %",
            "largest", "correlation")  # fmt: skip
    return "Embedder beside its teacher, cosines of photographs:\n\n" + table(head, rows)


def _networks(networks: Figures) -> str:
    rows = [
        (name, f"{f['parameters']:,}", f.get("steps"), f.get("minutes"), f.get("seed"))
        for name, f in networks.items()
    ]
    head = ("network", "parameters", "steps of the last run", "minutes", "seed")
    return table(head, rows)


def _absent(report: Figures) -> str:
    if report["photographs"]:
        return ""
    return "\n\nNo photographs were given: nothing about photographs was measured."


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return value
