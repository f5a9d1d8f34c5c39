"""Where a model takes its ids: one answer for all, whether its weights are in memory or elsewhere until they are needed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel


def embeddings_of(model: PreTrainedModel) -> Any:
    """What embeds tokens: the model's own answer, or its decoder's where a family (PP-FormulaNet) has none for the whole."""
    try:
        return model.get_input_embeddings()
    except NotImplementedError:
        decoder: Any = model.get_decoder()
        return decoder.get_input_embeddings()


def ids_device(model: PreTrainedModel) -> torch.device:
    """The device of the input embedding; of one that accelerate offloads, the device where it is loaded for a forward."""
    embedding = embeddings_of(model)
    device: torch.device = embedding.weight.device
    hook = vars(embedding).get("_hf_hook")  # accelerate's, alone or first of several
    if device.type != "meta" or hook is None:
        return device
    places = [getattr(each, "execution_device", None) for each in getattr(hook, "hooks", (hook,))]
    return torch.device(next((place for place in places if place is not None), "cpu"))


def moved_to(model: PreTrainedModel, ids: Tensor) -> Tensor:
    """Ids where the model reads them."""
    return ids.to(ids_device(model))
