"""The models that negatives come from: loaded when the server starts, asked once a step for all rows of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders.amateurs.adapters import AdapterAmateur
from counterpoint.decoders.amateurs.models import ModelAmateur
from counterpoint.decoders.forwards.encoding import encode_prompt
from counterpoint.decoders.forwards.row_cache import RowCache
from counterpoint.decoders.hf.configuration import context_length
from counterpoint.eval.engines.vllm.requests import Request
from counterpoint.eval.engines.vllm.server import check_server
from counterpoint.eval.engines.vllm.settings import Settings


class Negative(RowCache):
    """A model, alone or under an adapter, with the cache of the rows that are set against it."""

    def __init__(self, amateur: ModelAmateur) -> None:
        super().__init__(amateur.model, amateur.running)
        self.amateur = amateur


class Negatives:
    """All that a server was started with.

    Args:
        settings: What requests choose among.
        amateurs: The amateurs and adapters by name, and under "" the served model itself, where it has been loaded once more.
        tokenizer: The served model's.
    """

    def __init__(self, settings: Settings, amateurs: Mapping[str, Negative], tokenizer: PreTrainedTokenizerBase) -> None:
        self.settings, self.amateurs, self.tokenizer = settings, amateurs, tokenizer

    @classmethod
    def load(cls, vllm_config: Any, device: torch.device) -> Negatives:
        """Load what the server's settings list where the served model lies, in its dtype.

        Raises:
            ValueError: For a server whose batch cannot be followed, settings that are wrong, tokenizers that differ from the served
                model's, models that read fewer tokens than requests may have, and those whose cache texts cannot join and leave.
        """
        check_server(vllm_config)
        settings, served = Settings.of(vllm_config), vllm_config.model_config
        code = {"trust_remote_code": bool(served.trust_remote_code)}
        tokenizer = AutoTokenizer.from_pretrained(served.tokenizer, revision=served.tokenizer_revision, **code)

        def model_of(name: str, **options: Any) -> PreTrainedModel:
            model: Any = AutoModelForCausalLM.from_pretrained(name, dtype=served.dtype, **options, **code)
            length = context_length(model)
            if length is not None and length < served.max_model_len:
                raise ValueError(
                    f"{name} reads {length} tokens, and requests may have {served.max_model_len}: --max-model-len {length}"
                )
            ready: PreTrainedModel = model.to(device).eval()
            return ready

        found: dict[str, Negative] = {}
        for name, where in settings.amateurs.items():
            own = AutoTokenizer.from_pretrained(where, **code)
            found[name] = Negative(ModelAmateur(model_of(where), tokenizer=own, expert_tokenizer=tokenizer))
        if settings.copies_expert:
            copy = model_of(served.model, revision=served.revision)
            found |= under_adapters(copy, settings.adapters)
            found[""] = Negative(ModelAmateur(found[next(iter(settings.adapters))].amateur.model if settings.adapters else copy))
        return cls(settings, found, tokenizer)

    def text_before(self, request: Request, prompt: Sequence[int]) -> tuple[int, ...]:
        """The tokens that come before what is generated, as the request's negative reads them."""
        if not request.prompted:
            return tuple(prompt)
        given = request.without_context
        return tuple(encode_prompt(self.tokenizer, given)) if isinstance(given, str) else given


def under_adapters(model: PreTrainedModel, adapters: Mapping[str, str]) -> dict[str, Negative]:
    """The model under each adapter, all of them off between forwards.

    Raises:
        ImportError: If there are adapters, and no PEFT.
    """
    if not adapters:
        return {}
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ImportError("adapters need PEFT: pip install counterpoint[adapters]") from error
    (first, where), *others = adapters.items()
    tuned: Any = PeftModel.from_pretrained(model, where, adapter_name=first)
    for name, path in others:
        tuned.load_adapter(path, adapter_name=name)
    tuned.eval().base_model.disable_adapter_layers()
    amateurs = {name: AdapterAmateur(tuned, adapter=name) for name in adapters}
    return {name: Negative(amateur) for name, amateur in amateurs.items()}
