"""Texts by a served model, trimmed as those of this process are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from counterpoint.decoders.forwards.chats import Chat, Prompt, shown
from counterpoint.decoders.forwards.encoding import encode_prompt
from counterpoint.decoders.named import PENALTIES
from counterpoint.eval import building, generation
from counterpoint.eval.choosing import DecoderSpec
from counterpoint.eval.engines.served import AnyModel, Served
from counterpoint.eval.engines.servers import refuse_several
from counterpoint.eval.generation import Generated, Request
from counterpoint.eval.loading import Loaded
from counterpoint.eval.trimming import WHOLE, TrimmedText, Trimming, trim_text, trim_tokens
from counterpoint.rankers.continuation_texts import GeneratedText
from counterpoint.rankers.engines import Beginning, Written
from counterpoint.rankers.search.over_engines import Ranked, best_of_written, ranked_search_written

ASKED = ("ranker", "proposals", "beams", "candidates", "tokens_per_round")
"""What ``best_of`` and ``ranked_search`` have by a server."""


def request_of(model: AnyModel, prompt: Prompt, max_new_tokens: int, trimming: Trimming = WHOLE) -> Request:
    """A prompt as the model reads it: its tokens, or none where a server makes them itself.

    Raises:
        ValueError: As for :func:`~counterpoint.eval.generation.request`.
    """
    if isinstance(model, Loaded):
        return generation.request(model, prompt, max_new_tokens, trimming)
    if not model.endpoint.takes_ids or model.tokenizer is None:
        return Request(prompt, (), trimming=trimming)
    ids = generation.in_template(model, prompt) if isinstance(prompt, Chat) else encode_prompt(model.tokenizer, prompt)
    if not ids:
        raise ValueError(f"the prompt {prompt!r} has no tokens in the vocabulary of {model.name}")
    generation.check_context(model.endpoint.context, len(ids), max_new_tokens)
    return Request(prompt, tuple(ids), trimming=trimming)


def check_decoder(served: Served, spec: DecoderSpec) -> None:
    """Refuse a decoder that the server does not have, before anything is written.

    Raises:
        ValueError: With the way out.
    """
    endpoint = served.endpoint
    if "ranker" not in spec.row.needs:
        endpoint.body(spec)
        return
    (proposals,) = proposals_of(spec)
    endpoint.body(proposals)
    for name, value in spec.values.items():
        own = spec.row.parameters[name] if name in spec.row.parameters else PENALTIES[name]
        if name not in ASKED and value != own.default:
            raise ValueError(f"decoder {spec.name}: {name}={value!r} is not sent to a server; leave it out, or leave out --engine")
    if not endpoint.server.n:
        raise refuse_several(f"decoder {spec.name}", endpoint.server.name)
    if spec.name == "ranked_search" and not endpoint.takes_ids:
        raise ValueError(
            f"decoder {spec.name} goes on with tokens: it needs a server that takes them (vLLM) and --tokenizer PATH; or take "
            "best_of"
        )


def continue_request(
    served: Served, spec: DecoderSpec, request: Request, seed: int, max_new_tokens: int
) -> tuple[TrimmedText, Ranked]:
    """A continuation of a prompt, and the candidates that a ranker chose it from, if one did.

    Raises:
        ValueError: If the server does not have the decoder, or does not answer what it was asked.
        OSError: If it cannot be reached.
    """
    check_decoder(served, spec)
    beginning: Beginning = request.prompt if "prompts" in spec.row.needs else request.ids or request.prompt
    if "ranker" in spec.row.needs:
        ranked = ranked_texts(served, spec, request, beginning, seed, max_new_tokens)
        return trimmed(served, ranked[0][0], request), ranked
    seeds = [seed] if spec.sampling else []
    ((found,),) = served.endpoint.write([beginning], spec, max_new_tokens=max_new_tokens, seeds=seeds, stop=request.trimming.stop)
    return trimmed(served, found, request), []


def ranked_texts(
    served: Served, spec: DecoderSpec, request: Request, beginning: Beginning, seed: int, max_new_tokens: int
) -> Ranked:
    """What ``best_of`` or ``ranked_search`` chose from, the best first."""
    values: dict[str, Any] = dict(spec.values)
    (proposals,), rankers = proposals_of(spec), values["ranker"]
    if isinstance(request.prompt, Chat):
        served.chats[request.prompt.shown()] = request.prompt
    ranker = served.keep(
        f"ranker {spec.written()['ranker']}",
        lambda: building.load_ranker(rankers, lambda: served, served.device, served.trust_remote_code, lambda _: served.chats),
    )
    prefix = shown(request.prompt)
    tokenizer = served.tokenizer
    asked: dict[str, Any] = {"max_new_tokens": max_new_tokens, "seed": seed, "stop": request.trimming.stop}
    if spec.name == "ranked_search" and tokenizer is not None:
        settings = {name: values[name] for name in ("beams", "candidates", "tokens_per_round")}
        return ranked_search_written(served.endpoint, tokenizer, request.ids, prefix, ranker, proposals, **settings, **asked)

    def text_of(written: Written) -> str:
        known = tokenizer is not None and bool(request.ids) and written.ids is not None
        return GeneratedText(tokenizer, request.ids, written.ids) if known else written.text  # type: ignore[arg-type]

    count = int(proposals.values["num_beams"]) if proposals.name == "beam" else int(values["candidates"])  # type: ignore[arg-type]
    return best_of_written(served.endpoint, beginning, prefix, ranker, proposals, candidates=count, text_of=text_of, **asked)


def proposals_of(spec: DecoderSpec) -> tuple[DecoderSpec]:
    """The decoder that proposes what a ranker chooses from."""
    found: Any = spec.values["proposals"]
    return tuple(found)


def trimmed(served: Served, written: Written, request: Request) -> TrimmedText:
    """A text as it is measured: from its tokens where they are known, so that it is what this process would have made of them."""
    trimming = request.trimming
    if written.ids is not None and served.tokenizer is not None and request.ids:
        found = trim_tokens(served.tokenizer, request.ids, written.ids, served.tokenizer.eos_token_id, trimming)
        return replace(found, finished=written.finished)
    return trim_text(written.text, written.tokens, written.finished, trimming)


def generate(served: Served, request: Request, max_new_tokens: int, seed: int, spec: DecoderSpec) -> Generated:
    """A continuation as ``counterpoint generate`` shows it; the seconds are those of the answer, network and queue included."""
    begin = time.perf_counter()
    try:
        found, ranked = continue_request(served, spec, request, seed, max_new_tokens)
    except ValueError as error:
        raise ValueError(f"decoder {spec}: {error}") from error
    seconds = time.perf_counter() - begin
    details: dict[str, Any] = {"thinking_text": found.thinking} if request.trimming.thinking is not None else {}
    if ranked:
        details |= details_of(spec, ranked)
    return Generated(found.text, found.tokens, seconds, details)


def details_of(spec: DecoderSpec, ranked: Sequence[tuple[Written, float]]) -> dict[str, Any]:
    """All of a ranker's last candidates, the best first."""
    return {
        "ranker": " ".join(str(each) for each in spec.nested() if each.row.kind_of_name == "ranker"),
        "candidates": [each.text for each, _ in ranked],
        "scores": [score if each.text.strip() else None for each, score in ranked],
    }
