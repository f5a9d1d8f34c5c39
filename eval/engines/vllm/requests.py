"""What a request asks for: a decoder of the table, its values, and models that the server was started with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from counterpoint.decoders.choosing.rows import AMATEUR, DecoderRow, suggestion
from counterpoint.decoders.choosing.specs import Spec, parse
from counterpoint.decoders.named import DECODERS, TABLE
from counterpoint.eval.engines.vllm.settings import Settings

OWN_FIELD = "it is a setting of vLLM's own: leave decoder out and use the request's fields (temperature, top_k, top_p, min_p)"
NO_STATES = "vLLM gives a logits processor no hidden states; use generate() of transformers, or counterpoint serve"
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("greedy", "sample", "nucleus", "top_k", "min_p"), OWN_FIELD),
    "beam": "it is a setting of vLLM's own: use_beam_search, to which no logits processor is applied",
    "typical": "vLLM has no locally typical sampling; top_n_sigma and p_less are samplers that run here",
    **dict.fromkeys(("contrastive_search", "adaptive_contrastive_search", "dola", "sled", "released_sled"), NO_STATES),
    **dict.fromkeys(("layer_fusion", "lol"), NO_STATES),
    "decore": "vLLM gives a logits processor no attention heads to mask; use generate() of transformers",
    "visual_contrastive": "vLLM gives a logits processor no pictures to show in another view; use generate() of transformers",
    "released_contrastive_decoding": "it is a beam search, and vLLM applies no logits processor to beams; use contrastive_decoding",
    "speculative_contrastive_decoding": "vLLM drafts by itself and runs no logits processors then; use contrastive_decoding",
}
"""Why a decoder of the table is not served."""

SERVED: Mapping[str, DecoderRow] = {name: row for name, row in DECODERS.items() if name not in REFUSED}
OF_REQUEST = ("temperature", "top_k", "repetition_penalty")
"""Parameters that are fields of the request itself, unless the decoder's own meaning is another (frustratingly simple's top_k)."""
OF_VLLM = ("kv_transfer_params", "ec_transfer_params", "kv_cache_report_mode")
"""What vLLM itself passes on beside a request's values."""
MOST: Mapping[tuple[str, str], int] = {("frustratingly_simple", "n"): 10, ("frustratingly_simple", "top_k"): 100}
"""The largest values of what makes each token dearer: one request must not hold up all others."""

RANGE = (1e-6, 1e6)
"""Between what a number has to lie that is not 0: beyond it float32 would not give every token a score."""

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Request:
    """A decoder with its values, and where its negative distribution comes from."""

    spec: Spec[DecoderRow]
    model: str = ""
    """Name of the amateur or adapter; empty for the served model under another prompt, and where there is no contrast of models."""
    without_context: str | Ids = ""
    """The prompt without its context, as text or as tokens."""

    @property
    def amateur(self) -> bool:
        """Whether another model, or the same one under an adapter, is the negative."""
        return "amateur" in self.spec.row.needs

    @property
    def prompted(self) -> bool:
        """Whether the negative is the served model under a prompt of its own."""
        return "prompts" in self.spec.row.needs


def read_request(extra_args: Mapping[str, Any] | None, settings: Settings) -> Request | None:
    """What the ``vllm_xargs`` of a request ask for; None where it has no ``decoder``.

    Raises:
        ValueError: For anything that is wrong, with the way out.

    Example:
        >>> settings = Settings(amateurs={"small": "/models/small"})
        >>> request = read_request({"decoder": "contrastive_reasoning", "beta": 0.25}, settings)
        >>> request.spec.name, request.spec.values["beta"], request.model
        ('contrastive_reasoning', 0.25, 'small')
    """
    given = {key: value for key, value in (extra_args or {}).items() if key not in OF_VLLM}
    if "decoder" not in given:
        for key in given:
            if key in (*AMATEUR, "without_context") or get_close_matches(key, ["decoder"], cutoff=0.8):
                raise ValueError(f"vllm_xargs have {key} and no decoder; give decoder=NAME, one of {', '.join(SERVED)}")
        return None
    row = served_row(given.pop("decoder"))
    model = given.pop("amateur", ""), given.pop("amateur_adapter", "")
    prompt = given.pop("without_context", "")
    spec = parse(row.name, TABLE, values_of(row, given), own=False)
    check_sizes(spec)
    if "amateur" in row.needs:
        return Request(spec, chosen(row, *model, settings), refuse_prompt(row, prompt))
    if any(model):
        raise ValueError(f"decoder {row.name} has no amateur, and {next(filter(None, model))!r} names one")
    if "prompts" in row.needs:
        if not settings.copies_expert:
            raise ValueError(
                f"decoder {row.name} reads a second prompt, and this server was not started for it: "
                '--additional-config \'{"counterpoint": {"expert_copy": true}}\''
            )
        return Request(spec, without_context=second_prompt(row, prompt))
    return Request(spec, without_context=refuse_prompt(row, prompt))


def served_row(name: object) -> DecoderRow:
    """The row of a decoder that vLLM can run.

    Raises:
        ValueError: With the reason why it cannot, or with the names of those that it can.
    """
    if isinstance(name, str) and name in SERVED:
        return SERVED[name]
    if isinstance(name, str) and name in REFUSED:
        raise ValueError(f"decoder {name} does not run in vLLM: {REFUSED[name]}")
    raise ValueError(f"unknown decoder {name!r}{suggestion(str(name), SERVED)}; here are: {', '.join(SERVED)}")


def values_of(row: DecoderRow, given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a row's own parameters, as the table has them: JSON's true and false come as 1 and 0.

    Raises:
        ValueError: For one that is the request's own, or that the row does not have.
    """
    own = {key: value for key, value in row.parameters.items() if key not in ("message", *AMATEUR)}
    if row.sampling:
        own = {key: value for key, value in own.items() if key not in OF_REQUEST}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in own:
            way_out = "; it is a field of the request itself" if key in OF_REQUEST else suggestion(key, own)
            others = ["amateur", "amateur_adapter"] if "amateur" in row.needs else ["without_context"] if row.needs else []
            raise ValueError(
                f"decoder {row.name} has no {key!r} here{way_out}; it takes: {', '.join([*own, *others]) or 'nothing'}"
            )
        if isinstance(value, list):
            raise ValueError(f"{key}={value!r} is a list; decoder {row.name} takes one value")
        values[key] = bool(value) if isinstance(own[key].default, bool) and value in (0, 1) else value
    return values


def check_sizes(spec: Spec[DecoderRow]) -> None:
    """Values with which every token gets a score, in a time that other requests can wait.

    Raises:
        ValueError: For one that is too large or too small.
    """
    for key, value in spec.values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        most = MOST.get((spec.name, key), RANGE[1])
        if value > most:
            raise ValueError(f"{key}={value}: {most:g} is the most here")
        if value < RANGE[0] and (value != 0 or key == "amateur_temperature"):
            raise ValueError(f"{key}={value}: give {RANGE[0]:g} or more" + ("" if key == "amateur_temperature" else ", or 0"))


def chosen(row: DecoderRow, amateur: object, adapter: object, settings: Settings) -> str:
    """The amateur or adapter that is named, or the only one there is.

    Raises:
        ValueError: If there is no such one, or none is named where there are several.
    """
    known = [*settings.amateurs, *settings.adapters]
    if amateur and adapter:
        raise ValueError(f"decoder {row.name}: amateur={amateur!r} and amateur_adapter={adapter!r}: give one of them")
    for key, name, names in (("amateur", amateur, settings.amateurs), ("amateur_adapter", adapter, settings.adapters)):
        if name and not (isinstance(name, str) and name in names):
            have = f"this server has {', '.join(names)}" if names else "this server has none"
            raise ValueError(f"decoder {row.name}: {key}={name!r} is not a name it was started with; {have}")
        if name:
            return str(name)
    if len(known) != 1:
        have = f"one of {', '.join(known)}" if known else "which this server was started without (--additional-config)"
        raise ValueError(f"decoder {row.name} needs amateur=NAME or amateur_adapter=NAME, {have}")
    return known[0]


def second_prompt(row: DecoderRow, prompt: object) -> str | Ids:
    """The prompt without its context, which is given as text or as tokens.

    Raises:
        ValueError: If it is missing or empty.
    """
    if isinstance(prompt, str) and prompt.strip():
        return prompt
    if isinstance(prompt, Sequence) and prompt and all(type(token) is int and token >= 0 for token in prompt):
        return tuple(prompt)
    raise ValueError(
        f"decoder {row.name} needs without_context, the prompt without its context, as text or as a list of token ids; "
        f"without_context={prompt!r}"
    )


def refuse_prompt(row: DecoderRow, prompt: object) -> str:
    """Nothing, for a decoder that reads one prompt.

    Raises:
        ValueError: If it is given a second one.
    """
    if prompt:
        raise ValueError(f"decoder {row.name} reads the request's prompt alone; leave without_context out")
    return ""
