"""Where the query heads of a layer's attention are, in the families whose projections are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


@dataclass(frozen=True)
class HeadProjections:
    """Where the heads of a layer are: columns ``[head * head_dim, (head + 1) * head_dim)`` of queries and of attended values."""

    attention: nn.Module
    query: str
    """Attribute of the module whose output begins with the queries."""
    output: str
    """Attribute of the module whose input is the attended values."""
    heads: int
    head_dim: int

    def check_uniform(self, name: str) -> None:
        """Queries of 0 give equal weights.

        Raises:
            ValueError: If not.
        """
        norms = [getattr(self.attention, each, None) for each in ("q_norm", "q_layernorm")]
        wide = any(isinstance(weight := getattr(norm, "weight", None), Tensor) and weight.numel() > self.head_dim for norm in norms)
        if wide:
            raise ValueError(
                f"{name} norms the queries of all heads together, so that one without queries changes the others; take mask='zero'"
            )
        if isinstance(getattr(self.attention, "lambda_q1", None), Tensor):
            raise ValueError(
                f"{name} subtracts heads from each other, so that one without queries changes others; take mask='zero'"
            )
        biased = any(isinstance(getattr(norm, "bias", None), Tensor) for norm in norms)
        if biased or isinstance(getattr(self.attention, "sinks", None), Tensor):
            kind = "query norms with a bias" if biased else "attention sinks"
            raise ValueError(f"{name} has {kind}, so that a head without queries is not uniform; take mask='zero'")


def inputs_of(projection: nn.Module) -> int | None:
    """The number of columns that a projection takes; None where that is not known."""
    if isinstance(projection, Conv1D):
        return int(projection.nx)
    return projection.in_features if isinstance(projection, nn.Linear) else None


def head_projections(layer: nn.Module, name: str, heads: int) -> HeadProjections:
    """The projections of the one attention of a layer, whose attended values are as wide as its queries.

    Raises:
        ValueError: If there is none, or its projections are not known.
    """
    found = [
        module for module in layer.modules() if hasattr(module, "q_proj") or isinstance(getattr(module, "c_attn", None), Conv1D)
    ]
    refused = (
        f"{name}: no attention whose query heads are known (q_proj, or GPT-2's c_attn, of heads * head_dim columns), so that no "
        "head of it can be masked"
    )
    if len(found) != 1 or not isinstance(getattr(found[0], "head_dim", None), int):
        raise ValueError(refused)
    attention: Any = found[0]
    width = heads * attention.head_dim
    query = "q_proj" if hasattr(attention, "q_proj") else "c_attn"
    columns = attention.q_proj.out_features if query == "q_proj" else attention.c_attn.nf // 3
    output = next((each for each in ("o_proj", "out_proj", "dense", "c_proj") if hasattr(attention, each)), None)
    if columns != width or output is None or inputs_of(getattr(attention, output)) != width:
        raise ValueError(refused)
    return HeadProjections(attention, query, output, heads, attention.head_dim)
