"""A case key: the same new identity for a patient in later runs, with nothing stored of the face.

The operator holds a secret; the patient's case id (never written anywhere) selects a draw from it
by HMAC. Who has no secret learns nothing from an output or a report, and cannot repeat the draw.
"""

import hmac
import unicodedata
from dataclasses import dataclass, field

import numpy as np

from vera.errors import UsageError

SHORTEST_SECRET = 16  # bytes

_DRAW, _NAME = b"vera identity draw 1\0", b"vera identity name 1\0"


@dataclass(frozen=True, slots=True)
class CaseKey:
    """Secret and case id; neither appears when it is printed.

    Attributes:
        secret: At least 16 bytes; keep it as a password, and apart from the photographs.
        case_id: The patient's id, any text; compared in Unicode's NFC form, outer blanks ignored.

    Raises:
        UsageError: The secret is too short or the case id is empty.
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
        if not self.case_id.strip():
            raise UsageError("A case key needs a case id; give the patient's.")

    def words(self) -> tuple[int, ...]:
        """Eight words of 32 bits that seed the draw."""
        return tuple(int(word) for word in np.frombuffer(self._digest(_DRAW), "<u4"))

    def name_of(self, identity: bytes) -> str:
        """A name, 12 hexadecimal digits, for an identity drawn with this key.

        Equal names mean the same new person, as far as this secret and case are concerned.
        """
        return self._digest(_NAME, identity).hex()[:12]

    def _digest(self, *parts: bytes) -> bytes:
        case = unicodedata.normalize("NFC", self.case_id.strip()).encode()
        message = b"".join(
            len(part).to_bytes(8, "little") + part for part in (*parts[:1], case, *parts[1:])
        )
        return hmac.digest(self.secret, message, "sha256")
