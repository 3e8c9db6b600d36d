"""What a rater may answer."""

import re
from dataclasses import dataclass

from vera.errors import UsageError

_MOST_VALUES = 20


@dataclass(frozen=True, slots=True)
class Scale:
    """The answers of a sheet.

    Attributes:
        text: As it was asked for.
        values: At least two, in order.
        ordered: Whether the order means something, so that near misses weigh less.
    """

    text: str
    values: tuple[str, ...]
    ordered: bool

    @classmethod
    def parse(cls, text: str) -> "Scale":
        """Read ``1-5``, ``yes-no``, ``a,b,c`` or, in order, ``none<mild<severe``.

        Raises:
            UsageError: It is none of these.
        """
        numbers = re.fullmatch(r"(\d{1,4})-(\d{1,4})", text)
        if numbers:
            values = tuple(map(str, range(int(numbers[1]), int(numbers[2]) + 1)))
        elif text == "yes-no":
            values = ("yes", "no")
        else:
            values = tuple(part.strip() for part in re.split("[<,]", text))
        distinct = len(set(values)) == len(values) and all(values)
        if not distinct or not 2 <= len(values) <= _MOST_VALUES or ("<" in text and "," in text):
            raise UsageError(
                f"'{text}' is no scale of 2 to {_MOST_VALUES} answers, each once; write 1-5, "
                "yes-no, labels a,b,c, or labels in order a<b<c."
            )
        return cls(text, values, bool(numbers) or "<" in text)
