"""The layout that a set of networks needs: each network tells the sizes that it settles."""

from typing import Any

from torch import nn

from vera import contract


def layout_of(*networks: nn.Module) -> contract.Layout:
    """The layout in which these networks fit; what none of them settles is the default."""
    fields: dict[str, Any] = {}
    for network in networks:
        fields |= getattr(network, "layout", {})
    return contract.Layout(**fields)
