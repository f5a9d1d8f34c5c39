"""A decoder by name, as what ``generate`` takes: any row of the table, built by its target's signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from counterpoint.decoders.amateurs.models import Amateur
from counterpoint.decoders.choosing.builders import after
from counterpoint.decoders.choosing.own import resolve
from counterpoint.decoders.choosing.rows import AMATEUR, DecoderRow
from counterpoint.decoders.choosing.specs import Spec, check_distribution, parse
from counterpoint.decoders.forwards.chats import Message, Prompt, as_prompt
from counterpoint.decoders.named import PENALTIES, TABLE


def decoder(
    choice: str | Spec[DecoderRow],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    amateur: Amateur | PreTrainedModel | None = None,
    prompts: str | Sequence[str | Prompt | Sequence[Message]] | None = None,
    processor: ProcessorMixin | None = None,
    **parameters: Any,
) -> dict[str, Any]:
    """A decoder by name, as keyword arguments of ``model.generate``.

    Names, parameters, defaults and errors are those of the command line; :func:`counterpoint.decoders.decoders` lists them. Your
    own decoder is ``package.module:Class`` or ``file.py:Class``: a class of logits processors, or a ``custom_generate`` callable.

    Args:
        choice: ``NAME`` or ``NAME:key=value,...``.
        model: The model that generates.
        tokenizer: Its tokenizer, for decoders that put other texts before the prompts.
        amateur: The amateur of decoders that need one: a model with the same vocabulary, or an
            :class:`~counterpoint.decoders.Amateur`.
        prompts: What will be continued, for decoders that depend on it (context-aware decoding, guides); a row each: a text, or
            a chat as a list of messages, which goes through the tokenizer's chat template. The parameter ``message`` then says
            which message has the context or the guide: "user" (the user's last, the default) or "system".
        processor: The model's processor, for decoders that show it pictures.
        **parameters: Parameters of the decoder; they win over those in ``choice``.

    Returns:
        What to pass on, ``do_sample`` included: ``model.generate(**inputs, **decoder(...))``.

    Raises:
        ValueError: For a name, key or value that is wrong, and for an amateur or prompts that are missing.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import decoder
        >>> from counterpoint.eval import EXPERT
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(EXPERT), AutoTokenizer.from_pretrained(EXPERT)
        >>> inputs = tokenizer("The whale rose", return_tensors="pt")
        >>> ids = model.generate(**inputs, **decoder("contrastive_search:top_k=4", model), max_new_tokens=10)
        >>> ids = model.generate(**inputs, **decoder("dola", model, layers="low"), max_new_tokens=10)
    """
    spec = parse(str(choice), TABLE, parameters)
    if isinstance(prompts, str):
        prompts = [prompts]
    given = None if prompts is None else [as_prompt(each) for each in prompts]
    if given == []:
        raise ValueError("prompts=[]: give what will be continued, a prompt for each row")
    found = generate_arguments(spec, model, tokenizer, amateur=amateur, prompts=given, processor=processor)
    if "custom_generate" in found and not found["do_sample"] and not model.generation_config.do_sample:
        del found["do_sample"]  # said in so many words, it makes generate warn that top_k is ignored
    return found


def generate_arguments(
    spec: Spec[DecoderRow],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    amateur: Amateur | PreTrainedModel | None = None,
    prompts: Sequence[Prompt] | None = None,
    processor: ProcessorMixin | None = None,
) -> dict[str, Any]:
    """What ``generate`` takes for a decoder, whose amateur and prompts are at hand if it needs them."""
    settings = {"do_sample": spec.row.sampling}
    if spec.row.kind == "settings":
        return settings | dict(spec.values)
    if "amateur" in spec.row.needs:
        amateur = amateur_of(spec, model, tokenizer, amateur, prompts)
    at_hand = {"model": model, "tokenizer": tokenizer, "amateur": amateur, "prompts": prompts, "processor": processor}
    target, own, rest = split(spec, at_hand)
    if spec.row.kind == "processor":
        rest = {name: value for name, value in rest.items() if name not in PENALTIES}
        return settings | {"logits_processor": LogitsProcessorList([target(**own), *penalties(spec)]), **rest}
    if stops := getattr(model.generation_config, "stop_strings", None):
        raise ValueError(
            f"stop_strings={stops!r} in model.generation_config: generate() asks for tokenizer=, which it then keeps from "
            f"{spec.name}; set them to None there, and pass stopping_criteria=[StopStringCriteria(tokenizer, stop_strings)]"
        )
    own.pop("model", None)  # generate gives its own
    if "tokenizer" in own:  # which generate keeps to itself
        target = partial(target, tokenizer=own.pop("tokenizer"))
    return settings | {"custom_generate": target, **own, **rest}


def scoring_processors(
    spec: Spec[DecoderRow],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    amateur: Amateur | PreTrainedModel | None = None,
    prompts: Sequence[Prompt] | None = None,
    processor: ProcessorMixin | None = None,
) -> list[LogitsProcessor]:
    """What changes the model's scores where given texts are scored, ``prompts`` one for each list of continuations.

    Of a sampler it is what ``generate`` draws from. Its temperature comes first, so that a set which depends on it (p-less) is that
    of the scaled logits; penalties are the same before and after.

    Raises:
        ValueError: For a decoder that gives texts no probability.
    """
    check_distribution(spec, TABLE.rows)
    if spec.row.kind == "settings":
        return penalties(spec)
    arguments = generate_arguments(spec, model, tokenizer, amateur=amateur, prompts=prompts, processor=processor)
    if not arguments["do_sample"]:
        return list(arguments["logits_processor"])
    temperature, top_k, top_p = (arguments.get(name, none) for name, none in (("temperature", 1.0), ("top_k", 0), ("top_p", 1.0)))
    before = [TemperatureLogitsWarper(temperature)] if temperature != 1 else []
    cut = [*([TopKLogitsWarper(top_k)] if top_k else []), *([TopPLogitsWarper(top_p)] if top_p < 1 else [])]
    return [*before, *arguments["logits_processor"], *cut]


def amateur_of(
    spec: Spec[DecoderRow],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    amateur: Amateur | PreTrainedModel | None,
    prompts: Sequence[Prompt] | None,
) -> Amateur | PreTrainedModel:
    """The amateur that is given, or the model after another text.

    Raises:
        ValueError: If there is none, or two.
    """
    text = spec.values.get("amateur_prompt")
    if text and amateur is not None:
        raise ValueError("amateur_prompt is another prompt for the expert itself: leave out amateur and amateur_adapter")
    if text:
        return after(model, tokenizer, str(text), prompts, str(spec.values.get("message", "")))
    if amateur is None:
        named = next((name for name in ("amateur", "amateur_adapter") if spec.values.get(name)), None)
        if named:
            raise ValueError(f"{named}={spec.values[named]} is loaded by the command line alone; in Python pass amateur=model")
        raise ValueError("no amateur: give amateur=MODEL, amateur_adapter=DIR or amateur_prompt=TEXT")
    return amateur


def split(spec: Spec[DecoderRow], at_hand: Mapping[str, Any]) -> tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]:
    """A row's target, the arguments that its signature has, and the values that are left for ``generate``.

    Raises:
        ValueError: If the signature asks for something that is not at hand.
    """
    target = resolve(spec.row.target)
    signature = inspect.signature(target).parameters
    named = AMATEUR if "amateur" in spec.row.needs else {}  # what names an amateur has become one
    values = {name: value for name, value in spec.values.items() if name not in named}
    own = {name: value for name, value in values.items() if name in signature}
    for name, value in at_hand.items():
        if name in signature and value is not None:
            own[name] = value
        elif name in signature and signature[name].default is inspect.Parameter.empty:
            raise ValueError(f"decoder {spec.name} needs {name}={'[...]' if name == 'prompts' else '...'}")
    return target, own, {name: value for name, value in values.items() if name not in signature}


def penalties(spec: Spec[DecoderRow]) -> list[LogitsProcessor]:
    """The penalties that any decoder takes, as logits processors: after a contrast, as in the papers on DoLa and ICD."""
    found: list[LogitsProcessor] = []
    values: Mapping[str, Any] = spec.values
    if values.get("repetition_penalty", 1.0) != 1.0:
        found.append(RepetitionPenaltyLogitsProcessor(values["repetition_penalty"]))
    if values.get("no_repeat_ngram_size"):
        found.append(NoRepeatNGramLogitsProcessor(values["no_repeat_ngram_size"]))
    return found
