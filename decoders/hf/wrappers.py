"""What PEFT has put around a model or into its layers."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn


def adapter_states(model: nn.Module) -> list[tuple[Any, ...]]:
    """Which adapters each tuned layer of ``model`` has on, off and merged, and how strongly; none where PEFT is not in use."""
    layers: Any = sys.modules.get("peft.tuners.tuners_utils")  # without it no layer is tuned
    if layers is None:
        return []
    return [
        (
            tuple(module.active_adapters),
            module.disable_adapters,
            tuple(module.merged_adapters),
            dict(vars(module).get("scaling", {})),
        )
        for module in model.modules()
        if isinstance(module, layers.BaseTunerLayer)
    ]
