"""Whether a server that was told to end still has cases in work."""

import re

# Gauges of the model, which Triton goes on telling until its last model is gone (measured with
# 2.51): cases in work, and cases that were taken and wait.
WORK = ("vera_active_slots", "vera_queue_length")

_VALUE = re.compile(rf"^(?:{'|'.join(WORK)})(?:{{[^}}]*}})? (\S+)$", re.MULTILINE)


def cases_left(metrics: bytes | None) -> int | None:
    """Cases in work or waiting by the text of the metrics; None if it does not tell them."""
    values = _VALUE.findall((metrics or b"").decode("utf-8", "replace"))
    return round(sum(map(float, values))) if len(values) >= len(WORK) else None
