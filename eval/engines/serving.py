"""What a request to ``counterpoint serve`` may ask: a decoder of the table by name, its stop strings and its seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from counterpoint.decoders.choosing.specs import Spec
from counterpoint.decoders.forwards.chats import Chat, Prompt, checked_messages
from counterpoint.eval import building
from counterpoint.eval.choosing import DecoderSpec, parse_decoder
from counterpoint.eval.generation import encode, stopping
from counterpoint.eval.loading import Loaded
from counterpoint.eval.trimming import Trimming

if TYPE_CHECKING:
    from counterpoint.decoders.hf.serving.app import Asked

PLACES = ("amateur_adapter", "path", "heads")
"""Parameters that name a folder or a file, which a request may not."""
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1, None),
    "best_of": (1, None),
    "echo": (False, None),
    "logprobs": (False, None),
    "top_logprobs": (None,),
    "presence_penalty": (0, None),
    "frequency_penalty": (0, None),
    "logit_bias": ({}, None),
    "suffix": (None,),
    "tools": (None, []),
    "tool_choice": (None, "none"),
    "response_format": (None,),
    "generation_config": (None,),
}
"""Fields that transformers reads otherwise, or ignores, by the values that ask for nothing."""
SAMPLING = ("temperature", "top_p")
OWN = ("decoder", "seed", "stop", "user", "stream_options", *SAMPLING, *NEUTRAL)
"""Fields that are read here; the others are transformers'."""


@dataclass(frozen=True)
class Choices:
    """What a server lets requests choose.

    Args:
        loaded: The model.
        default: The decoder of requests that name none, which may name models and files.
        amateurs: Amateurs that requests may name, with the model that each is.
    """

    loaded: Loaded
    default: DecoderSpec
    amateurs: Mapping[str, str]

    def choose(self, body: Mapping[str, Any]) -> Asked:
        """A request as what ``generate`` takes.

        Raises:
            ValueError: For a field that would be ignored, a decoder that is not in the table, one that names a path or a file, and
                what the decoder refuses.
        """
        from counterpoint.decoders.hf.serving.app import Asked  # needs fastapi

        for name, neutral in NEUTRAL.items():
            if name in body and body[name] not in neutral:
                raise ValueError(f"{name}={body[name]!r}: this server would ignore it; leave it out" + WAYS_OUT.get(name, ""))
        spec = self.spec(body)
        if body.get("stream") and not spec.row.streams:
            raise ValueError(f"stream=true: {spec.name} knows no token before the whole text; leave it out")
        stop, seed = body.get("stop") or [], body.get("seed") or 0
        texts = [stop] if isinstance(stop, str) else stop
        if not isinstance(texts, list) or not all(isinstance(each, str) and each for each in texts):
            raise ValueError(f"stop={stop!r} is no text, nor a list of texts")
        if type(seed) is not int or seed < 0:
            raise ValueError(f"seed={seed!r} is no whole number of 0 or more")
        prompt = prompt_of(body)
        asked = next((body[name] for name in ("max_completion_tokens", "max_tokens") if body.get(name) is not None), 1)
        if type(asked) is not int or asked < 1:
            raise ValueError(f"max_tokens={asked!r} is no whole number above 0")
        encode(self.loaded, prompt, asked)  # checks that there is room: one request after the other: a long one holds up all
        arguments = building.generate_arguments(spec, self.loaded, [prompt])
        arguments |= stopping(self.loaded, Trimming(tuple(texts)))
        return Asked(arguments, seed, {name: value for name, value in body.items() if name not in OWN})

    def spec(self, body: Mapping[str, Any]) -> DecoderSpec:
        """The decoder of a request."""
        named = body.get("decoder")
        if named is not None and not isinstance(named, str):
            raise ValueError(f"decoder={named!r} is no choice: write NAME or NAME:key=value,...")
        spec = self.allowed(parse_decoder(named, own=False)) if named else self.default
        given = {name: body[name] for name in SAMPLING if body.get(name) is not None}
        if given.get("temperature") == 0:
            if spec.sampling:
                raise ValueError(f"temperature=0: {spec.name} draws; name decoder='greedy' instead")
            del given["temperature"]  # nothing is drawn
        for name, value in given.items():
            if name not in spec.values and not (name == "top_p" and value == 1):
                raise ValueError(
                    f"{name}={value}: decoder {spec.name} has no such setting; name one that has, as decoder='nucleus'"
                )
            if name in spec.values:
                spec = replace(spec, values={**spec.values, name: spec.row.parameters[name].read(name, float(value))})
        return spec

    def allowed(self, spec: DecoderSpec) -> DecoderSpec:
        """A request's decoder, with the amateur that its name stands for.

        Raises:
            ValueError: If it names a folder or a file, here or in a choice within it.
        """
        named: list[Spec[Any]] = [spec, *spec.nested()]
        for each in named:
            place = next((name for name in PLACES if each.values.get(name)), None)
            if place is not None:
                raise ValueError(
                    f"decoder {each.name}: {place}={each.values[place]} is a place on the server; start it with --decoder"
                )
        name = str(spec.values.get("amateur") or "")
        if not name:
            return spec
        if name not in self.amateurs:
            known = ", ".join(self.amateurs) or "none; start the server with --amateur NAME=ID_OR_PATH"
            raise ValueError(f"decoder {spec.name}: amateur={name} is not one of this server's: {known}")
        return replace(spec, values={**spec.values, "amateur": self.amateurs[name]})


WAYS_OUT: Mapping[str, str] = {
    "n": ", and send several requests, each with a seed of its own",
    "best_of": ", or name decoder='best_of'",
    "logprobs": "; `counterpoint score` has log-probabilities under a decoder",
    "generation_config": ", and name a decoder: decoder='beam:num_beams=4'",
    "frequency_penalty": ", or give the decoder repetition_penalty=...",
}


def prompt_of(body: Mapping[str, Any]) -> Prompt:
    """The text or the chat of a request.

    Raises:
        ValueError: If it has neither.
    """
    if "messages" in body:
        return Chat(checked_messages(body["messages"], "messages"))
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError("prompt is no text; this server continues one text of a request, not tokens or a list")
    return prompt
