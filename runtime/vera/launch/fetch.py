"""What a server on this machine says over HTTP."""

import urllib.request
from http.client import HTTPException


def fetch(
    url: str, body: bytes | None = None, *, patience_s: float = 5.0, most_bytes: int | None = None
) -> bytes | None:
    """The content of a good answer, else None; no proxy is asked, the server is on this machine.

    Args:
        url: Of the page.
        body: JSON to send; None only asks.
        patience_s: Seconds that each piece of the answer may take.
        most_bytes: So much of it is read; None reads all.
    """
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(asked, timeout=patience_s) as answer:
            return bytes(answer.read(most_bytes))
    except (OSError, HTTPException):
        return None
