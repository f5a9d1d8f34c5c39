"""Kinds of servers, and what each may be sent for a decoder: what a server does not know it ignores, with HTTP 200."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from counterpoint.decoders.named import PENALTIES
from counterpoint.eval.choosing import DecoderSpec

Body = dict[str, Any]

INSIDE = {
    "dola": "reads the model's early layers",
    "sled": "reads the model's early layers",
    "released_sled": "reads the model's early layers",
    "layer_fusion": "reads the amateur's layers",
    "lol": "reads the amateur's layers",
    "decore": "masks the model's attention heads",
    "contrastive_search": "reads the model's hidden states and goes back in its cache",
    "adaptive_contrastive_search": "reads the model's hidden states and goes back in its cache",
    "speculative_contrastive_decoding": "drives the model's cache",
    "released_contrastive_decoding": "chooses among all beams at once",
}
"""Why decoders do not run in a server that was not made for them."""

CONTRASTS = (
    "contrastive_decoding",
    "contrastive_reasoning",
    "induce_then_contrast",
    "context_aware",
    "adacad",
    "coiecd",
    "m3id",
    "frustratingly_simple",
    "top_n_sigma",
    "p_less",
)
"""Decoders that are sent to this library's logits processor in vLLM, which refuses by HTTP 400 what it does not have."""


WITHOUT_CONTEXT = ("context_aware", "adacad", "coiecd", "m3id")
"""Those that the plugin sends the prompt without its context too."""


@dataclass(frozen=True)
class Server:
    """A kind of server.

    Args:
        name: Its name in results.
        body: The fields of a request that choose a decoder.
        n: Whether it gives several candidates of a prompt.
        ids: Whether it takes a prompt's tokens and gives a text's.
        scores: Whether it tells the log-probabilities of given texts.
    """

    name: str
    body: Callable[[DecoderSpec], Body]
    n: bool = False
    ids: bool = False
    scores: bool = False


def refuse(spec: DecoderSpec, server: str) -> ValueError:
    """The error for a decoder that a kind of server does not have."""
    reason = f" ({spec.name} {INSIDE[spec.name]})" if spec.name in INSIDE else ""
    plugin = ", or vLLM with this library's logits processor" if spec.name in CONTRASTS else ""
    way_out = "take nucleus or min_p there, or " if spec.name == "typical" else ""
    return ValueError(
        f"decoder {spec.name}: {server} has no such decoder and would ignore it without a word{reason}; {way_out}"
        f"serve the model by `counterpoint serve`{plugin}, or leave out --engine to run it in this process"
    )


def refuse_several(what: str, server: str) -> ValueError:
    """The error for several candidates where a kind of server gives one."""
    return ValueError(
        f"{what}: {server} serve gives one text of a prompt and ignores n; serve the model by vLLM, or leave out --engine"
    )


def values_of(spec: DecoderSpec, known: Mapping[str, str], server: str) -> Body:
    """The decoder's values as a server's fields.

    Args:
        spec: The decoder.
        known: The server's fields by the names of parameters.
        server: Its name.

    Raises:
        ValueError: For a value that the server has no field for, unless it changes nothing.
    """
    found: Body = {}
    for key, value in spec.values.items():
        neutral = PENALTIES[key].default if key in PENALTIES else 0 if key in ("top_k", "min_p") else 1.0
        if key in known:
            found[known[key]] = value
        elif value != neutral:
            raise ValueError(
                f"decoder {spec.name}: {server} has no field for {key}={value} and would ignore it without a word; leave it out, "
                "or serve the model by vLLM or `counterpoint serve`"
            )
    return found


NEUTRAL: Body = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
"""What chooses nothing: vLLM would take what is not said from the checkpoint's generation settings."""


def vllm_body(spec: DecoderSpec) -> Body:
    """Fields of vLLM: its own samplers and beam search, and contrasts by ``vllm_xargs``."""
    name, server = spec.name, "vLLM"
    penalty = {"repetition_penalty": "repetition_penalty"}
    samplers = {name: name for name in ("temperature", "top_p", "top_k", "min_p")} | penalty
    if name == "greedy":
        return NEUTRAL | {"temperature": 0.0} | values_of(spec, penalty, server)
    if name in ("sample", "nucleus", "top_k", "min_p"):
        return NEUTRAL | values_of(spec, samplers, server)
    if name == "beam":
        fields = {"num_beams": "n", "length_penalty": "length_penalty"}
        return {"use_beam_search": True, "temperature": 0.0, **values_of(spec, fields, server)}
    if name in CONTRASTS:
        unsaid = next((key for key in ("amateur_prompt", "message") if spec.values.get(key)), None)
        if unsaid:
            raise ValueError(
                f"decoder {name}: vLLM's plugin has no {unsaid}={spec.values[unsaid]}; leave it out, or leave out --engine"
            )
        drawn = {key: value for key, value in spec.values.items() if key in samplers}
        own = {key: value for key, value in spec.values.items() if key not in samplers and value not in ("", None)}
        settings = drawn if spec.sampling else {"temperature": 0.0, **{key: drawn[key] for key in penalty if key in drawn}}
        return NEUTRAL | settings | {"vllm_xargs": {"decoder": name, **own}}
    raise refuse(spec, server)


def transformers_body(spec: DecoderSpec) -> Body:
    """Fields of ``transformers serve``: settings of ``generate`` as JSON; a temperature beside it would be ignored, or fail."""
    if spec.row.kind != "settings":
        raise refuse(spec, "transformers serve")
    return {"generation_config": json.dumps({"do_sample": spec.row.sampling, **spec.values})}


def counterpoint_body(spec: DecoderSpec) -> Body:
    """The field of ``counterpoint serve``: the decoder's choice, written in full."""
    return {"decoder": str(spec)}


def openai_body(spec: DecoderSpec) -> Body:
    """Fields that every server of the protocol has: a temperature and a nucleus."""
    server = "a server of which nothing more is known"
    if spec.name == "greedy":
        return {"temperature": 0.0, **values_of(spec, {}, server)}
    if spec.name in ("sample", "nucleus"):
        return {"temperature": 1.0, "top_p": 1.0} | values_of(spec, {"temperature": "temperature", "top_p": "top_p"}, server)
    raise refuse(spec, server)


SERVERS: Mapping[str, Server] = {
    server.name: server
    for server in (
        Server("vllm", vllm_body, n=True, ids=True, scores=True),
        Server("counterpoint", counterpoint_body),
        Server("transformers", transformers_body),
        Server("openai", openai_body, n=True, scores=True),
    )
}


def kind_of(entry: Mapping[str, Any]) -> Server:
    """The kind of server by what it says of its model at ``/v1/models``.

    Example:
        >>> from counterpoint.eval.engines.servers import kind_of
        >>> kind_of({"id": "m", "owned_by": "vllm"}).name, kind_of({"id": "m"}).name
        ('vllm', 'openai')
    """
    owner = entry.get("owned_by")
    if owner in ("vllm", "counterpoint"):
        return SERVERS[str(owner)]
    return SERVERS["transformers" if "status" in entry else "openai"]
