"""A case key: the same new identity for a patient in later runs, with nothing stored of the face.

The operator holds a secret; the patient's case id (never written anywhere) selects a draw from it
by HMAC. Who has no secret learns nothing from an output or a report, and cannot repeat the draw.
"""

import hmac
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vera.errors import UsageError

SHORTEST_SECRET = 16  # bytes

_CASE, _DRAW, _NAME = b"vera case key 1\0", b"vera identity draw 2\0", b"vera identity name 2\0"
_KEY_BYTES = 32


def canonical_case_id(case_id: str) -> bytes:
    """The form in which case ids are compared: Unicode's NFC without outer blanks, as UTF-8.

    Raises:
        UsageError: It is empty, or a name that is no Unicode text; the message does not repeat it.
    """
    canonical = unicodedata.normalize("NFC", case_id.strip())
    if not canonical:
        raise UsageError("A case key needs a case id; give the patient's.")
    try:
        return canonical.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            "A case id must be UTF-8 text, but a folder's name of another encoding was got; rename "
            "the folder."
        ) from error


def require_drawn(method: str) -> None:
    """Raises a UsageError if a key cannot decide whom this method gives."""
    if method == "margin":
        raise UsageError(
            "Method 'margin' moves people by the photographs, so a case key would not give the "
            "same one again; use method 'draw' or leave the key out."
        )


def read_secret(path: Path) -> bytes:
    """The secret in a file: its bytes, without the line end that editors add to a line of text.

    One line end is taken away if all before it is printable UTF-8; what looks like random bytes
    stays as it is.

    Raises:
        UsageError: The file cannot be read or is too short.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"The file of the secret cannot be read ({error.strerror}); check its path."
        ) from error
    secret = _without_line_end(content)
    if len(secret) < SHORTEST_SECRET:
        raise UsageError(
            f"The file of the secret holds {len(secret)} bytes, fewer than the {SHORTEST_SECRET} "
            "that a secret needs; make one with: head -c 32 /dev/urandom > secret"
        )
    return secret


def _without_line_end(content: bytes) -> bytes:
    line = content.removesuffix(b"\n").removesuffix(b"\r")
    try:
        return line if line.decode().isprintable() else content
    except UnicodeDecodeError:
        return content


@dataclass(frozen=True, slots=True)
class CaseKey:
    """Secret and case id; neither appears when it is printed.

    Attributes:
        secret: At least 16 bytes; keep it as a password, and apart from the photographs.
        case_id: The patient's id, any text; compared in Unicode's NFC form, outer blanks ignored.

    Raises:
        UsageError: The secret is too short, or the case id is empty or no Unicode text.
    """

    secret: bytes = field(repr=False)
    case_id: str = field(repr=False)

    def __post_init__(self) -> None:
        """Refuses keys that protect nothing."""
        if len(self.secret) < SHORTEST_SECRET:
            raise UsageError(
                f"A secret needs at least {SHORTEST_SECRET} bytes, got {len(self.secret)}; make "
                "one with: head -c 32 /dev/urandom > secret"
            )
        canonical_case_id(self.case_id)

    def derived(self) -> "DrawKey":
        """What draws this patient's identity; neither secret nor case id can be had back."""
        case = canonical_case_id(self.case_id)
        return DrawKey(_digest(self.secret, _CASE, case))


@dataclass(frozen=True, slots=True)
class DrawKey:
    """A case key without its secret and case id: the only form that leaves the operator's machine.

    Attributes:
        value: 32 bytes. Who has them can repeat this patient's draw and no other one's.

    Raises:
        UsageError: It is of another length.
    """

    value: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuses what no derivation gave."""
        if len(self.value) != _KEY_BYTES:
            raise UsageError(
                f"A derived key has {_KEY_BYTES} bytes, got {len(self.value)}; derive it from a "
                "secret and a case id."
            )

    def words(self) -> tuple[int, ...]:
        """Eight words of 32 bits that seed the draw."""
        return tuple(int(word) for word in np.frombuffer(_digest(self.value, _DRAW), "<u4"))

    def name_of(self, identity: bytes) -> str:
        """A name, 12 hexadecimal digits, for an identity drawn with this key.

        Equal names mean the same new person, as far as this secret and case are concerned.
        """
        return _digest(self.value, _NAME, identity).hex()[:12]


def _digest(key: bytes, *parts: bytes) -> bytes:
    message = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    return hmac.digest(key, message, "sha256")
