"""The results of an earlier run: they are never mixed with new ones."""

import re
from pathlib import Path

from vera.errors import OutputError

# All that is written but the outputs; other files in these folders are the user's and stay.
_RESULTS = {
    "": re.compile(r"report\.md|figures\.json"),
    "tables": re.compile(
        r"(outcomes|deidentification|pairs|regions|faces|attributes|seconds|calibration)\.csv"
    ),
    "plots": re.compile(r"\d+_(originals|pairs|trade-off)\.png"),
    "sheets": re.compile(r".+_\d+\.jpg"),
}


def remove_results(folder: Path) -> None:
    """Takes away report, figures, tables, plots and contact sheets of an earlier run.

    Raises:
        OutputError: One cannot be deleted.
    """
    for name, pattern in _RESULTS.items():
        place = folder / name
        if not place.is_dir():
            continue
        try:
            for path in place.iterdir():
                if pattern.fullmatch(path.name):
                    path.unlink()
            if name and not any(place.iterdir()):
                place.rmdir()
        except OSError as error:
            raise OutputError(
                f"Results of an earlier run in '{place}' cannot be deleted ({error.strerror}); "
                "delete them or choose another output folder."
            ) from error
