"""Contrasts by name: from a decoder's parameters on the command line to its logits processors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from transformers import (
    LogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    PreTrainedModel,
    RepetitionPenaltyLogitsProcessor,
)

from counterpoint.decoders import (
    AdapterAmateur,
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    DoLaLogitsProcessor,
    LayerFusionLogitsProcessor,
    ModelAmateur,
    PromptAmateur,
    SLEDLogitsProcessor,
    extrapolation,
    likelihood_ratio,
    log_ratio,
)
from counterpoint.decoders.forwards.layers import depth_of
from counterpoint.decoders.forwards.ragged import padded
from counterpoint.eval.decoder_specs import PENALTIES, DecoderSpec
from counterpoint.eval.embedded import AMATEUR, EXPERT
from counterpoint.eval.errors import CommandError, UsageError
from counterpoint.eval.loading import Loaded, load

Values = dict[str, Any]
Build = Callable[[Values, Loaded, Sequence[str]], LogitsProcessor]


def processors(choice: DecoderSpec, loaded: Loaded, prompts: Sequence[str]) -> list[LogitsProcessor]:
    """The logits processors of a decoder for these prompts; none for one that is no contrast.

    Penalties come after the contrast, as in the papers on DoLa and induce-then-contrast.

    Raises:
        CommandError: If the decoder refuses the model or its parameters, or an amateur cannot be loaded.
    """
    if not choice.decoder.contrast:
        return []
    values: Values = {name: value for name, value in choice.values.items() if name not in PENALTIES}
    try:
        found = BUILDERS[choice.decoder.name](values, loaded, prompts)
    except (ValueError, ImportError) as error:
        raise CommandError(f"decoder {choice}: {error}") from error
    return [found, *penalties(choice)]


def scoring_processors(choice: DecoderSpec, loaded: Loaded, prompts: Sequence[str]) -> list[LogitsProcessor]:
    """All that changes the model's scores where nothing is generated; for a contrast the same as :func:`processors`."""
    return processors(choice, loaded, prompts) if choice.decoder.contrast else penalties(choice)


def penalties(choice: DecoderSpec) -> list[LogitsProcessor]:
    """The penalties that any decoder takes, as logits processors."""
    found: list[LogitsProcessor] = []
    values: Values = {**PENALTIES, **choice.values}
    if values["repetition_penalty"] != 1.0:
        found.append(RepetitionPenaltyLogitsProcessor(values["repetition_penalty"]))
    if values["no_repeat_ngram_size"]:
        found.append(NoRepeatNGramLogitsProcessor(values["no_repeat_ngram_size"]))
    return found


def contrastive_decoding(values: Values, loaded: Loaded, prompts: Sequence[str]) -> LogitsProcessor:
    """The ratio ln p - ln q, with q at a temperature."""
    form = partial(likelihood_ratio, amateur_temperature=values["amateur_temperature"])
    return ContrastiveDecodingLogitsProcessor(amateur_of(values, loaded, prompts), alpha=values["alpha"], form=form)


def contrastive_reasoning(values: Values, loaded: Loaded, prompts: Sequence[str]) -> LogitsProcessor:
    """The extrapolation (1 + beta) ln p - beta ln q."""
    form = partial(extrapolation, beta=values["beta"])
    return ContrastiveDecodingLogitsProcessor(amateur_of(values, loaded, prompts), alpha=values["alpha"], form=form)


def induce_then_contrast(values: Values, loaded: Loaded, prompts: Sequence[str]) -> LogitsProcessor:
    """The ratio beta ln p - ln q."""
    form = partial(log_ratio, beta=values["beta"])
    return ContrastiveDecodingLogitsProcessor(amateur_of(values, loaded, prompts), alpha=values["alpha"], form=form)


def context_aware(values: Values, loaded: Loaded, prompts: Sequence[str]) -> LogitsProcessor:
    """The prompt against its last paragraph."""
    contexts, questions = zip(*(prompt.rpartition("\n\n")[::2] for prompt in prompts), strict=True)
    if not all(contexts):
        raise ValueError("a prompt has no context: put it before the question, with a blank line between them")
    return ContextAwareLogitsProcessor(loaded.model, prompt_batch(loaded, questions), beta=values["beta"])


def dola(values: Values, loaded: Loaded, prompts: Sequence[str]) -> LogitsProcessor:
    """The last layer against the early one that is the furthest from it."""
    name = values["layers"]
    layers = name if name in ("low", "high") else numbers("layers", name)
    return DoLaLogitsProcessor(loaded.model, layers=layers, alpha=values["alpha"], final_norm=values["final_norm"])


def sled(values: Values, loaded: Loaded, prompts: Sequence[str]) -> LogitsProcessor:
    """Evolved logits; all parameters are the processor's own."""
    return SLEDLogitsProcessor(loaded.model, **values)


def layer_fusion(values: Values, loaded: Loaded, prompts: Sequence[str]) -> LogitsProcessor:
    """The amateur at several layers, and the guided prompt."""
    name, guide = values["layers"], values["guide"]
    amateur = amateur_of(values, loaded, prompts)
    return LayerFusionLogitsProcessor(
        loaded.model,
        amateur,
        layers=[depth_of(loaded.model) // 2] if name == "middle" else numbers("layers", name),
        fusion_weight=values["fusion_weight"],
        guide=PromptAmateur(loaded.model, prompt_batch(loaded, [f"{guide}\n\n{prompt}" for prompt in prompts])) if guide else None,
        refocus_weight=values["refocus_weight"],
        alpha=values["alpha"],
    )


BUILDERS: dict[str, Build] = {
    build.__name__: build
    for build in (contrastive_decoding, contrastive_reasoning, induce_then_contrast, context_aware, dola, sled, layer_fusion)
}


def amateur_of(values: Values, loaded: Loaded, prompts: Sequence[str]) -> ModelAmateur:
    """The amateur that a decoder's parameters name.

    Raises:
        UsageError: If they name none, or two that exclude each other.
    """
    text, named = values["amateur_prompt"], model_amateur_of(values, loaded)
    if text and named:
        raise UsageError("amateur_prompt is another prompt for the expert itself: leave out amateur and amateur_adapter")
    if text:
        return PromptAmateur(loaded.model, prompt_batch(loaded, [f"{text}\n\n{prompt}" for prompt in prompts]))
    if named is None:
        raise UsageError("no amateur: give amateur=MODEL, amateur_adapter=DIR or amateur_prompt=TEXT")
    return named


def model_amateur_of(values: Values, loaded: Loaded) -> ModelAmateur | None:
    """The amateur that is a model or an adapter; beside the embedded expert it is the embedded amateur unless another is given."""
    if "amateur" not in values:
        return None
    model, adapter = values["amateur"], values["amateur_adapter"]
    if not model and not adapter and not values["amateur_prompt"] and loaded.name == str(EXPERT):
        model = str(AMATEUR)
    return model_amateur(loaded, model, adapter) if model or adapter else None


@cache
def model_amateur(loaded: Loaded, name: str, adapter: str) -> ModelAmateur:
    """Another model, with an adapter merged into it or not, or the expert under an adapter; loaded once."""
    if not name:
        tuned = with_adapter(loaded.model, adapter)
        tuned.base_model.disable_adapter_layers()  # for the expert
        return AdapterAmateur(tuned)
    dtype = str(loaded.model.dtype).removeprefix("torch.")
    amateur = load(name, str(loaded.model.device), dtype, trust_remote_code=False)
    model = with_adapter(amateur.model, adapter).merge_and_unload() if adapter else amateur.model
    return ModelAmateur(model, tokenizer=amateur.tokenizer, expert_tokenizer=loaded.tokenizer)


def with_adapter(model: PreTrainedModel, adapter: str) -> Any:
    """The model with an adapter of PEFT loaded into it."""
    try:
        from peft import PeftModel
    except ImportError as error:
        raise CommandError("amateur_adapter needs PEFT: pip install 'counterpoint[adapters]'") from error
    if not Path(adapter).is_dir():
        raise CommandError(f"amateur_adapter={adapter}: no such folder; it is what save_pretrained() of a PeftModel writes")
    return PeftModel.from_pretrained(model, adapter)


def prompt_batch(loaded: Loaded, texts: Sequence[str]) -> dict[str, Any]:
    """Prompts for a :class:`~counterpoint.decoders.PromptAmateur`, padded on the left."""
    tokenizer: Any = loaded.tokenizer
    rows = [tokenizer(text)["input_ids"] for text in texts]
    ids, mask = padded(rows, side="left", device=loaded.model.device)
    return {"input_ids": ids, "attention_mask": mask}


def numbers(key: str, text: str) -> list[int]:
    """Whole numbers that are separated by "+" or ","."""
    words = text.replace("+", ",").split(",")
    if not all(word.strip().isdecimal() for word in words):
        raise ValueError(f"{key}={text} are not layers: give numbers with '+' between them, e.g. {key}=2+4")
    return [int(word) for word in words]
