"""Whether what a server told has the types that it claims: JSON can hold anything anywhere."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from math import isfinite
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

_LARGEST = 2**64  # of a whole number: above it not even a float may hold it


def fits(value: object, kind: Any) -> bool:
    """Whether a value is of a type as it is annotated, to every depth; numbers are finite.

    Args:
        value: Built out of a server's words.
        kind: A class, a dataclass, or a tuple, mapping, literal or union of such.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is object:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if origin is tuple:
        return isinstance(value, tuple) and _all_fit(value, inner)
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(
            fits(name, inner[0]) and fits(held, inner[1]) for name, held in value.items()
        )
    if is_dataclass(kind):
        return isinstance(value, kind) and all(  # type: ignore[arg-type]
            fits(getattr(value, field.name), field.type) for field in fields(kind)
        )
    if kind is int:
        return type(value) is int and abs(value) < _LARGEST  # a bool is an int, too
    if kind is float:
        return fits(value, int) or (isinstance(value, float) and isfinite(value))
    return isinstance(value, kind if origin is None else origin)


def _all_fit(values: tuple[object, ...], kinds: tuple[Any, ...]) -> bool:
    if kinds[-1:] == (...,):
        return all(fits(value, kinds[0]) for value in values)
    return len(values) == len(kinds) and all(map(fits, values, kinds))
