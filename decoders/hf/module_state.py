"""The state of a text that some families keep in their modules (RecurrentGemma), where a second text overwrites it."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import PreTrainedModel

from counterpoint.decoders.hf.caches import is_recurrent, new_cache
from counterpoint.decoders.hf.generate_call import current_generate_call
from counterpoint.decoders.hf.weights import version_of

ModuleState = dict[tuple[str, str], tuple[Tensor, int | None]]
"""Tensors that are neither weights nor buffers, each with its version, by module and attribute."""


def keeps_state_in_modules(model: PreTrainedModel) -> bool:
    """Whether what recurrent layers have read is in no cache, as in RecurrentGemma before transformers 5.23."""
    return model.config.model_type == "recurrent_gemma" and not is_recurrent(new_cache(model))


def module_state(model: nn.Module) -> ModuleState:
    """What the modules of ``model`` hold at the moment."""
    return {
        (name, attribute): (value, version_of(value))
        for name, module in model.named_modules()
        for attribute, value in vars(module).items()
        if isinstance(value, Tensor)
    }


def has_changed(model: nn.Module, before: ModuleState) -> bool:
    """Whether a forward since ``before`` has left something else in the modules."""
    now = module_state(model)
    return now.keys() != before.keys() or any(
        tensor is not before[key][0] or version != before[key][1] for key, (tensor, version) in now.items()
    )


def check_state_is_its_own(model: nn.Module, before: ModuleState) -> None:
    """A forward since ``before`` has not overwritten the state of the ``generate`` in progress.

    Raises:
        ValueError: If ``model`` is the one that generates and keeps the state of the text in its modules.
    """
    call = current_generate_call()
    if call is not None and call.model is model and has_changed(model, before):
        raise ValueError(
            f"{type(model).__name__} keeps the state of the text in its modules, where a forward beside generate() overwrites it; "
            "give the decoder a copy of the model (copy.deepcopy(model)) or generate without it"
        )
