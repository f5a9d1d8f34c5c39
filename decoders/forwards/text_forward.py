"""One forward of a model over given texts: logits, and states of early layers, at the positions that predict their tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from itertools import chain
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from counterpoint.decoders.forwards.given_texts import GivenTexts, PrefixTree, tree_masks
from counterpoint.decoders.forwards.pictured_texts import forward_pictured
from counterpoint.decoders.forwards.prefix_cache import PrefixCache
from counterpoint.decoders.forwards.ragged import padded
from counterpoint.decoders.forwards.readable import check_causal, check_known
from counterpoint.decoders.forwards.recording import ForwardOutputs, Positions, recorded_states
from counterpoint.decoders.forwards.tree_support import candidate_method
from counterpoint.decoders.hf.caches import CACHE, is_croppable, sliding_windows
from counterpoint.decoders.hf.devices import ids_device
from counterpoint.decoders.hf.outputs import ModelOutput
from counterpoint.decoders.kernels.grouped_attention import grouped_attention
from counterpoint.decoders.undoing import together

LONG = 512
"""A trunk with more new tokens is read by itself first, without a mask of all nodes by all nodes."""


def forward_texts(prefix: PrefixCache, texts: GivenTexts, positions: Positions, layers: Sequence[int] = ()) -> ForwardOutputs:
    """Logits and states of ``texts``, read by the model of ``prefix`` as one tree-masked sequence where it can, else as rows.

    The tree's trunk, such as a primer that precedes all questions, stays in ``prefix`` for the next texts.
    """
    check_known(prefix.model, chain(*texts.prompts, *texts.continuations))
    if prefix.model.config.is_encoder_decoder:
        return forward_encoded_rows(prefix.model, texts, positions)
    check_causal(prefix.model)
    if texts.beside:
        return forward_pictured(prefix.model, texts, positions, layers)
    windows = sliding_windows(prefix.cache)
    if candidate_method(prefix.model)[0] == "tree" and len(windows - {None}) < 2:
        nodes = [texts.tree.paths[text][len(texts.prompts[text]) - 1 + before] for text, before in positions]
        return forward_tree(prefix, texts.tree, nodes, layers)
    return forward_rows(prefix, texts, positions, layers)


def forward_tree(prefix: PrefixCache, tree: PrefixTree, nodes: Sequence[int], layers: Sequence[int]) -> ForwardOutputs:
    """All texts as one sequence, in which each token sees those before it in its own text."""
    model: Any = prefix.model
    device = ids_device(model)
    ids = torch.tensor([tree.tokens], device=device)
    trunk, seen = ids[:, : tree.trunk], torch.ones(1, tree.trunk, dtype=torch.bool, device=device)
    most = min(tree.trunk, *nodes)
    held, _ = prefix.hold(trunk, seen, most=most)
    if most - held > LONG and prefix.cache is not None and is_croppable(prefix.cache):
        read_trunk(prefix, trunk[:, :most])
        held, _ = prefix.hold(trunk, seen, most=most)
    at = torch.tensor(nodes, device=device) - held
    states: dict[int, Tensor] = {}
    recorded = recorded_states(model, layers, lambda hidden: hidden[:, at.to(hidden.device)], states)
    with together(recorded, grouped_attention(model.config.get_text_config(decoder=True))) as forward, forward:
        logits = model(
            input_ids=ids[:, held:],
            attention_mask=tree_masks(tree, held, sliding_windows(prefix.cache), model.dtype, device),
            position_ids=torch.tensor([tree.depths[held:]], device=device),
            use_cache=True,
            **{CACHE: prefix.cache},
        ).logits[0]
    prefix.keep(ids, torch.ones_like(ids, dtype=torch.bool))
    if prefix.hold(trunk, seen, most=tree.trunk)[0]:  # the branches are dropped, where the cache can drop them
        prefix.keep(trunk, seen)
    return ForwardOutputs(logits, states)


def forward_rows(prefix: PrefixCache, texts: GivenTexts, positions: Positions, layers: Sequence[int]) -> ForwardOutputs:
    """Each text as a row of its own after one reading of the trunk, padded on the right, where no causal model can see it."""
    model: Any = prefix.model
    device = ids_device(model)
    ids, mask = padded([(*p, *c[:-1]) for p, c in zip(texts.prompts, texts.continuations, strict=True)])
    ids, seen = ids.to(device), mask.bool().to(device)
    rows = [text for text, _ in positions]
    columns = [len(texts.prompts[text]) - 1 + before for text, before in positions]
    held = 0
    if prefix.cache is not None and is_croppable(prefix.cache):  # what can be dropped again can also be shared
        read_trunk(prefix, ids[:1, : min(texts.tree.trunk, *columns)])
        held, _ = prefix.hold(ids, seen, most=min(columns))
    else:
        prefix.clear()
    at = torch.tensor(columns, device=device) - held
    states: dict[int, Tensor] = {}
    with recorded_states(model, layers, lambda hidden: hidden[rows, at.to(hidden.device)][None], states) as forward, forward:
        logits = model(input_ids=ids[:, held:], **prefix.arguments(seen, held)).logits[0]
    if held:
        prefix.keep(ids, seen)
    return ForwardOutputs(logits, states)


def read_trunk(prefix: PrefixCache, trunk: Int[Tensor, "1 length"]) -> None:
    """Bring ``prefix`` to hold the trunk."""
    model: Any = prefix.model
    seen = torch.ones_like(trunk, dtype=torch.bool)
    held, _ = prefix.hold(trunk, seen, most=trunk.shape[1])
    if held < trunk.shape[1]:
        few = {"logits_to_keep": 1} if "logits_to_keep" in prefix.parameters else {}
        model(input_ids=trunk[:, held:], **prefix.arguments(seen, held), **few)
    if trunk.shape[1]:
        prefix.keep(trunk, seen)


def forward_encoded_rows(model: Any, texts: GivenTexts, positions: Positions) -> ForwardOutputs:
    """Each text as a row of the decoder, its prompt in the encoder."""
    numbers = sorted(set(texts.numbers))
    ids, seen = padded([texts.prompts[texts.numbers.index(number)] for number in numbers])
    device = ids_device(model)
    encoded = encoder_outputs(model, {"input_ids": ids.to(device), "attention_mask": seen.to(device)})
    rows = torch.tensor([numbers.index(number) for number in texts.numbers])
    return forward_decoded_rows(model, encoder_arguments(encoded, seen, rows), texts, positions)


def forward_decoded_rows(
    model: Any, encoder_arguments: Mapping[str, Any], texts: GivenTexts, positions: Positions
) -> ForwardOutputs:
    """Each text as a row of the decoder, beside what the encoder made of its inputs."""
    ids, _ = padded([(*texts.written(text), *continuation[:-1]) for text, continuation in enumerate(texts.continuations)])
    rows, columns = [text for text, _ in positions], [len(texts.start) - 1 + before for _, before in positions]
    ids = ids.to(ids_device(model))
    states: dict[int, Tensor] = {}
    with recorded_states(model, (), lambda hidden: hidden[rows, columns][None], states) as forward, forward:
        logits = model(**encoder_arguments, decoder_input_ids=ids, use_cache=False).logits[0]
    return ForwardOutputs(logits, states)


def encoder_outputs(model: Any, inputs: Mapping[str, Tensor]) -> ModelOutput:
    """What the model's encoder makes of those of its inputs that it takes: a text's ids, or the features of a sound."""
    encoder = model.get_encoder()
    taken = signature(encoder.forward).parameters
    main: str = model.main_input_name
    if main not in taken:  # a speech encoder-decoder's "inputs" are what its encoder calls them
        inputs = {encoder.main_input_name if name == main else name: given for name, given in inputs.items()}
    outputs: ModelOutput = encoder(**{name: given for name, given in inputs.items() if name in taken}, return_dict=True)
    return outputs


def encoder_arguments(encoded: ModelOutput, mask: Tensor | None, rows: Int[Tensor, "rows"]) -> dict[str, Any]:
    """What a model takes in the place of its encoder's inputs: rows of the outputs, which stay of their own class."""
    device = encoded[0].device
    at = rows.to(device)
    chosen = {name: each[at] if isinstance(each, Tensor) else each for name, each in encoded.items()}
    return {"encoder_outputs": type(encoded)(**chosen), "attention_mask": None if mask is None else mask.to(device)[at]}
