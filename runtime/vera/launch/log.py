"""What a server's log says went wrong, short enough for one sentence."""

import re
from collections.abc import Iterable

_LENGTH = 400

# 'E1121 23:37:21.392771 29864 model_lifecycle.cc:642] "failed to load ..."'
_ERROR = re.compile(r'^E\d{4} \S+ \d+ \S+\] "?(?P<said>.*?)"?$|^error: (?P<last>.*)$')
_TRACEBACK = re.compile(r"(\\n)+At:.*")

# What every machine without a GPU says, and nobody has to mend.
_HARMLESS = ("CudaDriverHelper", "NVML", "DCGM", "pinned_memory")
# Tables and empty lines.
_DECORATION = ("+", "|")


def reason(lines: Iterable[str]) -> str:
    """The first model that could not be loaded, else the last errors, else the last lines."""
    told = [line for line in lines if line.strip() and not line.startswith(_DECORATION)]
    told = [line for line in told if not any(word in line for word in _HARMLESS)]
    errors = [found for line in told if (found := _ERROR.match(line))]
    said = [_TRACEBACK.sub("", found["said"] or found["last"] or "") for found in errors]
    loading = [text for text in said if text.startswith("failed to load '")]
    chosen = loading[:1] or said[-2:] or told[-3:]
    return "; ".join(" ".join(text.split()) for text in chosen)[:_LENGTH].rstrip(".")
