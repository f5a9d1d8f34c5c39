"""Whether candidates as a tree give a model the same hidden states as candidates in rows, measured on the very model.

Three texts that no one wrote, a dozen forwards of a few tokens:

- two rows, one padded, continued by two steps of three candidates each;
- one row that is longer than every window the configuration speaks of, continued by two steps of two. Its forward would be long, so
  it is not run: the cache goes on with the states of the short text in another order, and at the edge of a window with those of its
  first token, which models attend to most, their values enlarged and of alternating sign, so that one more or less shows;
- three texts with a common beginning, as one tree and as three rows, from nothing.

A wrong tree throws the states of all that follows a branch or an edge. Rounding in few bits may throw a single one anywhere: of
SmolLM2 in bfloat16 one of 14 by twice its length, the others by some hundredths. So the largest difference counts in float32, and
in dtypes of fewer bits the median of each comparison. Past the edge of a window, where a single one of four states may be wrong,
the largest counts always.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from counterpoint.decoders.forwards.candidates import CandidateForward, ExpandedForward
from counterpoint.decoders.forwards.given_texts import PrefixTree, tree_masks
from counterpoint.decoders.forwards.ragged import padded
from counterpoint.decoders.hf.attention import attention_name
from counterpoint.decoders.hf.caches import CACHE, lengthen, new_cache, sliding_windows
from counterpoint.decoders.hf.configuration import context_length, special_tokens
from counterpoint.decoders.hf.devices import ids_device
from counterpoint.decoders.hf.positions import positions
from counterpoint.decoders.hf.side_forward import side_forward
from counterpoint.decoders.hf.steps import after_forward
from counterpoint.decoders.hf.unembedding import narrowed_unembedding
from counterpoint.decoders.kernels.grouped_attention import grouped_attention

SHORT, LONG = 7, 40
"""Tokens of the short texts, and the least of the long one."""

EDGE, ENLARGED = 3, 300.0
"""Slots on either side of a window's edge, and how much larger their values are."""

MakeForward = Callable[[Cache, dict[str, Any]], CandidateForward]


@dataclass(frozen=True)
class Measurement:
    """The relative difference of hidden states, the largest of all comparisons, and why there is none where it is infinite."""

    error: float
    reason: str


Known = dict[str, tuple[Measurement, tuple[Any, ...]]]
_measured: weakref.WeakKeyDictionary[PreTrainedModel, Known] = weakref.WeakKeyDictionary()
"""Measurements of each model by the form of the tree, each with the sample of the model that it was made with."""


def measured(model: PreTrainedModel, form: str, make_tree: MakeForward, windows: Sequence[int]) -> Measurement:
    """The measurement, made once for a model while its attention, its dtype and a sample of its weights stay what they are.

    ``form`` names what ``make_tree`` makes, ``windows`` are the numbers of tokens beyond which a layer may see fewer.
    """
    sample = _sample(model)
    forms = _measured.setdefault(model, {})
    known = forms.get(form)
    if known is None or known[1] != sample:
        known = forms[form] = _measure(model, make_tree, windows), sample
    return known[0]


def _measure(model: PreTrainedModel, make_tree: MakeForward, windows: Sequence[int]) -> Measurement:
    with torch.no_grad(), side_forward(_measured) as own, own:
        try:
            short, *long = _short_and_long(model, make_tree, windows)
            differences = [_largest(each) if windows else _typical(each) for each in long]
            differences += [_typical(each) for each in (short, *_branches(model))]
        except (ValueError, RuntimeError, TypeError, LookupError, AttributeError, AssertionError) as error:
            return Measurement(float("inf"), f"{type(model).__name__} refuses it: {type(error).__name__} {error}")
    largest = max(differences)
    return Measurement(largest if largest == largest else float("inf"), f"hidden states were {largest:.1e} away from those of rows")


def _typical(differences: Float[Tensor, "states"]) -> float:
    """The largest difference, or where states have few bits the (upper) median."""
    largest = _largest(differences)
    few_bits = torch.finfo(differences.dtype).bits < 32
    return float(differences.sort().values[len(differences) // 2]) if few_bits and math.isfinite(largest) else largest


def _largest(differences: Float[Tensor, "states"]) -> float:
    """The largest difference, NaN if one is."""
    return float(differences.max())


def _short_and_long(model: PreTrainedModel, make_tree: MakeForward, windows: Sequence[int]) -> Iterable[Tensor]:
    tokens = _tokens(model)
    ids, mask = tokens[: 2 * SHORT].reshape(2, SHORT), torch.ones(2, SHORT, dtype=torch.long, device=tokens.device)
    mask[1, :2] = 0
    cache = new_cache(model)
    kwargs = {"attention_mask": mask, "position_ids": positions(mask.bool()), "use_cache": True, CACHE: cache}
    kwargs = after_forward(model, model(input_ids=ids, **kwargs), kwargs)

    def both(ids: Tensor, cache: Cache, kwargs: dict[str, Any], picks: Tensor, k: int) -> Tensor:
        trials = []
        for make in (lambda cache, kwargs: ExpandedForward(model, cache, kwargs, *ids.shape), make_tree):
            own = deepcopy(cache)
            trials.append(_steps(make(own, kwargs | {CACHE: own}), ids, tokens[-2 * k :].reshape(2, k), picks))
        return _differences(*trials)

    yield both(ids, cache, kwargs, torch.tensor([[2, 1], [0, 2]], device=tokens.device), 3)

    length, room = max([LONG, *windows]) + 2 * EDGE, context_length(model)
    if room is not None:
        length = min(length, room - 2)
    if length > SHORT:
        cache.reorder_cache(torch.tensor([0], device=tokens.device))  # type: ignore[arg-type]
        order, scale = _further_slots(SHORT, length, windows)
        lengthen(
            cache,
            lambda keys: keys.index_select(-2, order.to(keys.device)),
            lambda values: values.index_select(-2, order.to(values.device)) * scale.to(values),
        )
        slots = torch.arange(length + 1, device=tokens.device)[None]
        kwargs = {"attention_mask": torch.ones_like(slots), "position_ids": slots, "use_cache": True}
        yield both(
            tokens[torch.arange(length, device=tokens.device) % len(tokens)][None], cache, kwargs, torch.tensor([[1], [0]]), 2
        )


def _steps(
    forward: CandidateForward, ids: Int[Tensor, "rows length"], candidates: Int[Tensor, "2 k"], picks: Int[Tensor, "2 rows"]
) -> Float[Tensor, "steps rows k hidden"]:
    """Last hidden states of the candidates in two steps, of which the ``picks`` are kept."""
    found: list[Tensor] = []
    for tokens, pick in zip(candidates, picks.to(ids.device), strict=True):

        def choose(hidden: Tensor, pick: Tensor = pick) -> Tensor:
            found.append(hidden.cpu())
            return pick

        chosen, _ = forward(ids, tokens.expand(len(ids), -1), choose)
        ids = torch.cat([ids, tokens[chosen][:, None]], dim=1)
    return torch.stack(found)


def _further_slots(held: int, length: int, windows: Sequence[int]) -> tuple[Int[Tensor, "more"], Float[Tensor, "more 1"]]:
    """The index of the held slot that each slot up to ``length`` repeats, and the factor of its values."""
    slots = torch.arange(held, length)
    at_edge = torch.zeros(len(slots), dtype=torch.bool)
    for window in windows:
        at_edge |= (slots - (length - window)).abs() <= EDGE
    order = (slots * 5 + slots // held) % held
    return order.masked_fill(at_edge, 0), torch.where(at_edge, ENLARGED * (-1.0) ** slots, 1.0)[:, None]


def _branches(model: Any) -> Iterable[Tensor]:
    """The differences between three texts as one tree and as rows, of each text's own part."""
    tokens = _tokens(model)
    first = tokens[: 2 * SHORT].tolist()
    texts = [first, [*first[:3], *reversed(first)], [*first[:5], *first[:2], *reversed(first[:SHORT])]]
    tree, device = PrefixTree(texts), tokens.device
    ids, mask = padded(texts, device=device)
    rows = _hidden(model, {"input_ids": ids, "attention_mask": mask, "position_ids": positions(mask.bool()), "use_cache": False})
    cache = new_cache(model)
    with grouped_attention(model.config.get_text_config(decoder=True)) as attention, attention:
        inputs = {
            "input_ids": torch.tensor([tree.tokens], device=device),
            "attention_mask": tree_masks(tree, 0, sliding_windows(cache), model.dtype, device),
            "position_ids": torch.tensor([tree.depths], device=device),
            "use_cache": True,
            CACHE: cache,
        }
        nodes = _hidden(model, inputs)[0]
    before: set[int] = set()
    for row, path in zip(rows, tree.paths, strict=True):
        own = [place for place, node in enumerate(path) if node not in before]
        yield _differences(row[own], nodes[[path[place] for place in own]])
        before.update(path)


def _hidden(model: Any, inputs: dict[str, Any]) -> Float[Tensor, "rows positions hidden"]:
    found: list[Tensor] = []

    def narrow(hidden: Tensor) -> Tensor:
        found.append(hidden.cpu())
        return hidden[:, -1:]

    with narrowed_unembedding(model, narrow) as narrowed, narrowed:
        model(**inputs)
    return found[0]


def _differences(one: Float[Tensor, "*batch hidden"], other: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "states"]:
    """|one - other| / |one| of each state, in its own dtype."""
    found: Tensor = (one.float() - other.float()).norm(dim=-1) / one.float().norm(dim=-1)
    return found.flatten().to(one.dtype)


def _tokens(model: PreTrainedModel) -> Int[Tensor, "tokens"]:
    """Different tokens that mean nothing special."""
    weight: Any = model.get_input_embeddings().weight
    special = special_tokens(model)
    tokens = [token for token in range(min(len(weight), 4 * SHORT + len(special))) if token not in special]
    return torch.tensor(tokens, device=ids_device(model))


def _sample(model: PreTrainedModel) -> tuple[Any, ...]:
    """What the measurement may depend on: the attention, the dtype, and one number of each weight."""
    plain = [p for p in model.parameters() if type(p) in (Tensor, nn.Parameter) and not p.is_meta and p.numel()]
    by_device: dict[torch.device, list[Tensor]] = {}
    for parameter in plain:
        by_device.setdefault(parameter.device, []).append(parameter.detach()[(0,) * parameter.ndim].float())
    numbers = [number for each in by_device.values() for number in torch.stack(each).tolist()]
    return (attention_name(model.config.get_text_config(decoder=True)), model.dtype, *numbers)
