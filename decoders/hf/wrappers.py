"""What PEFT and ``torch.compile`` put around a model or into its layers."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn
from transformers import PreTrainedModel

Model = PreTrainedModel | nn.Module
"""A model of transformers, by itself or within a ``PeftModel`` or what ``torch.compile(model)`` gives."""


def unwrapped(model: Any) -> Any:
    """The model of transformers itself, whose forward says what it takes; other objects as they are.

    Adapters that PEFT has put into its layers stay in them.

    Raises:
        ValueError: For prompt learning (prefix or prompt tuning), where PEFT's own forward adds tokens before the text.
    """
    compiled: Any = sys.modules.get("torch._dynamo.eval_frame")  # without these modules nothing was wrapped
    if compiled is not None and isinstance(model, compiled.OptimizedModule):
        return unwrapped(model._orig_mod)
    peft: Any = sys.modules.get("peft")
    if peft is None or not isinstance(model, peft.PeftModel | peft.PeftMixedModel):
        return model
    kinds = {config.peft_type.value: config.is_prompt_learning for config in model.peft_config.values()}
    if any(kinds.values()):
        raise ValueError(
            f"{type(model).__name__} with {', '.join(kinds)} puts tokens of its own before the text, which a forward of the model "
            "inside of it would lack; use adapters in its layers (LoRA and others), or the model without them"
        )
    return unwrapped(model.get_base_model())


def plain_model(model: Model) -> PreTrainedModel:
    """:func:`unwrapped`, of what is known to be a model."""
    found: PreTrainedModel = unwrapped(model)
    return found


def adapter_states(model: nn.Module) -> list[tuple[Any, ...]]:
    """Which adapters each tuned layer of ``model`` has on, off and merged, and how strongly; none where PEFT is not in use."""
    layers: Any = sys.modules.get("peft.tuners.tuners_utils")
    if layers is None:
        return []
    tuned: list[Any] = [module for module in model.modules() if isinstance(module, layers.BaseTunerLayer)]
    return [
        (tuple(each.active_adapters), each.disable_adapters, tuple(each.merged_adapters), dict(vars(each).get("scaling", {})))
        for each in tuned
    ]
