"""The same model with an adapter on, or off, as the amateur: no second copy of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from typing_extensions import override

from counterpoint.decoders.amateurs.models import ModelAmateur
from counterpoint.decoders.forwards.given_texts import GivenTexts
from counterpoint.decoders.forwards.recording import ForwardOutputs, Positions
from counterpoint.decoders.hf.wrappers import Model
from counterpoint.decoders.undoing import Change, together


class AdapterAmateur(ModelAmateur):
    """The model that generates, under another adapter of PEFT or under none.

    Induce-then-contrast (Zhang et al. 2023, arXiv 2312.15710) trains such an amateur, an adapter that answers falsely. For the
    expert the adapter has to be off: ``peft_model.base_model.disable_adapter_layers()`` before ``peft_model.generate``. To set a
    fine-tuned expert against its own base, leave its adapter on and pass ``adapter=None``.

    Only forwards that this object runs itself see the other adapter. While one runs, other threads must not use the model.

    Args:
        model: A ``PeftModel``, or a transformers model with adapters loaded into it.
        adapter: The adapter's name, "default" unless it was given another; None for none.

    Raises:
        ImportError: Without PEFT.
        ValueError: If no layer has that adapter (prompt tuning has none in any) or adapters are merged into the weights, also where
            that comes to be later; and, at the first token, if the expert runs under the same adapter.

    Example:
        >>> from peft import LoraConfig, get_peft_model
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import AdapterAmateur, ContrastiveDecodingLogitsProcessor
        >>> from counterpoint.eval import EXPERT
        >>> tokenizer = AutoTokenizer.from_pretrained(EXPERT)
        >>> model = get_peft_model(AutoModelForCausalLM.from_pretrained(EXPERT), LoraConfig(target_modules=["q_proj"]))
        >>> model.base_model.disable_adapter_layers()
        >>> processor = ContrastiveDecodingLogitsProcessor(AdapterAmateur(model))
        >>> ids = model.generate(**tokenizer("The whale", return_tensors="pt"), logits_processor=[processor], max_new_tokens=5)
    """

    def __init__(self, model: Model, *, adapter: str | None = "default") -> None:
        try:
            from peft.tuners.tuners_utils import BaseTunerLayer
            from peft.utils.other import AuxiliaryTrainingWrapper
        except ImportError as error:
            raise ImportError("AdapterAmateur needs PEFT: pip install counterpoint[adapters]") from error
        super().__init__(model)
        self.adapter = adapter
        self.kinds = BaseTunerLayer, AuxiliaryTrainingWrapper
        self._tuners()

    @property
    def tuned(self) -> list[Any]:
        """The modules that have adapters now."""
        return [module for module in self.model.modules() if isinstance(module, self.kinds)]

    def _tuners(self) -> list[Any]:
        """The layers that have adapters, as they have to be: the adapter exists, and none is merged."""
        tuners = [module for module in self.tuned if isinstance(module, self.kinds[0])]
        names = sorted({name for module in tuners for name in _names(module)})
        if not tuners or (self.adapter is not None and self.adapter not in names):
            have = ", ".join(names) or "none"
            raise ValueError(f"adapter={self.adapter!r}: the layers of {type(self.model).__name__} have {have}")
        if any(module.merged for module in tuners):
            raise ValueError("adapters are merged into the weights, where they cannot be told apart; call unmerge_adapter() first")
        return tuners

    @override
    def next_logits(self, ids: Int[Tensor, "rows own"], seen: Bool[Tensor, "rows own"]) -> Float[Tensor, "rows vocabulary"]:
        self._check_expert()
        with self._switched() as adapter, adapter:
            return super().next_logits(ids, seen)

    @override
    def text_outputs(self, texts: GivenTexts, positions: Positions, layers: Sequence[int] = ()) -> ForwardOutputs:
        self._check_expert()
        with self.lock, self._switched() as adapter, adapter:
            return super().text_outputs(texts, positions, layers)

    @override
    def running(self) -> Change:
        self._check_expert()
        return together(self._switched(), super().running())

    def _check_expert(self) -> None:
        tuner = self._tuners()[0]
        active = [] if tuner.disable_adapters else list(tuner.active_adapters)
        if active == ([] if self.adapter is None else [self.adapter]):
            way_out = "turn it on for the expert" if self.adapter is None else "call disable_adapter_layers() before generate()"
            raise ValueError(f"adapter={self.adapter!r} is also what the expert runs under: the contrast would be zero; {way_out}")

    def _switched(self) -> Change:
        # PEFT's own switches also set requires_grad of every adapter weight, which is a trainer's business
        state = {"_disable_adapters": self.adapter is None, **({} if self.adapter is None else {"_active_adapter": [self.adapter]})}
        tuned = self.tuned
        before = [{name: vars(module)[name] for name in state} for module in tuned]

        def make() -> None:
            for module in tuned:
                vars(module).update(state)

        def undo() -> None:
            for module, attributes in zip(tuned, before, strict=True):
                vars(module).update(attributes)

        return Change(make, undo)


def _names(module: Any) -> list[str]:
    """Adapters that a tuner layer holds weights of."""
    holders = (getattr(module, name) for name in module.adapter_layer_names)
    return [name for holder in holders if isinstance(holder, nn.ModuleDict | nn.ParameterDict | dict) for name in holder]
