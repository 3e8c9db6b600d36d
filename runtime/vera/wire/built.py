"""Dataclasses rebuilt from their JSON."""

from collections.abc import Callable, Mapping
from typing import Any


def built(kind: type[Any], told: Mapping[str, Any], **parts: Callable[[Any], Any]) -> Any:
    """An instance of the dataclass ``kind``, ``parts`` built by their functions unless null.

    Fields that this version does not know are left out: a later one may tell more.

    Raises:
        TypeError: A field is missing.
        AttributeError: ``told`` is no mapping.
    """
    return kind(
        **{
            name: parts[name](value) if name in parts and value is not None else value
            for name, value in told.items()
            if name in kind.__dataclass_fields__
        }
    )
