"""The laws of a logits processor: in every mode of ``generate`` it gives what a reference without any state gives.

A :class:`Case` says how the library builds its processors and, as a function of one unpadded row, what scores they should give.
Everything else is here: batches, modes, and checks that raise ``AssertionError``; ``test_broken_processors.py`` shows that they do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, RepetitionPenaltyLogitsProcessor

from families import Family, prompts
from releases import skip_failing_drafts
from rounding import Watch, depth, rounding, watching

STEPS = 10
LENGTHS = (11, 7, 4)
PLAIN: dict[str, Any] = {"max_new_tokens": STEPS, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
CLOSE: dict[str, Any] = {"atol": 2e-4, "rtol": 2e-4}
TURNED = 4
"""Both of two scores can be off, and a temperature of 0.5 doubles what they are off by."""
Processor = Callable[[Tensor, Tensor], Tensor]

ROWS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sample": {"do_sample": True, "temperature": 0.7},
    "sample of the ten best": {"do_sample": True, "top_k": 10, "num_return_sequences": 3},
    "beams": {"num_beams": 4},
    "beam sample": {"num_beams": 3, "do_sample": True, "temperature": 0.5},
    "several beams, early stopping": {"num_beams": 4, "num_return_sequences": 2, "early_stopping": True, "eos_token_id": 31},
    "finished rows": {"do_sample": True, "num_return_sequences": 4, "eos_token_id": list(range(20, 50))},
    "finished beams": {"num_beams": 3, "eos_token_id": list(range(20, 50)), "length_penalty": 2.0},
}
"""Modes in which rows multiply, change places or end."""
PROCESSED: dict[str, dict[str, Any]] = {
    "penalty before": {"repetition_penalty": 1.5},
    "penalty after": {"after": [RepetitionPenaltyLogitsProcessor(1.5)]},
    "no n-gram twice": {"no_repeat_ngram_size": 1, "num_beams": 2},
    "few allowed tokens": {"prefix_allowed_tokens_fn": lambda row, ids: [5 + len(ids) % 7, 40, 60 + row]},
    "one forced token": {"prefix_allowed_tokens_fn": lambda row, ids: [5 + len(ids) % 7], "num_beams": 2},
}
"""Modes in which other processors have their say."""
CACHES: dict[str, dict[str, Any]] = {"no cache": {"use_cache": False}, "static cache": {"cache_implementation": "static"}}


class Row(NamedTuple):
    """One text of the batch, without padding, all of them ``[length]``.

    ``text`` is what the next token follows, prompt included; of an encoder-decoder model the decoder's. ``new`` are the tokens
    generated so far, ``prompt`` is the (encoder's) prompt, and ``index`` says which one of :data:`LENGTHS` it is.
    """

    text: Tensor
    new: Tensor
    prompt: Tensor
    index: int


@dataclass(frozen=True)
class Batch:
    """Prompts and their mask; ``index`` says which of :data:`LENGTHS` they are."""

    ids: Tensor
    mask: Tensor
    index: tuple[int, ...]

    def alone(self, row: int) -> Batch:
        """One prompt, without padding."""
        ids = self.ids[row][self.mask[row].bool()][None]
        return Batch(ids, torch.ones_like(ids), (self.index[row],))


Score = Callable[[Row, Tensor], Tensor]
"""Scores ``[vocabulary]`` of the next token of a row, from those that the processors before gave."""


@dataclass(frozen=True)
class Case:
    """A method to be held to the laws, over a model that generates.

    ``build(model, batch)`` gives fresh processors of the library for these prompts; ``reference(model)`` the score of one row,
    which knows nothing but that row. ``embeds`` says whether prompts can be ``inputs_embeds``.
    """

    name: str
    build: Callable[[PreTrainedModel, Batch], Sequence[Processor]]
    reference: Callable[[PreTrainedModel], Score]
    embeds: bool = False

    def __str__(self) -> str:
        return self.name


class Stateless:
    """A reference's score as a logits processor: every row is computed by itself, from its ids alone."""

    def __init__(self, model: PreTrainedModel, batch: Batch, score: Score, watch: Watch | None = None) -> None:
        self.batch, self.score, self.watch = batch, score, watch or Watch()
        self.encoder_decoder = bool(model.config.is_encoder_decoder)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.watch.step()
        copies = len(input_ids) // len(self.batch.ids)
        rows = [self.row(ids, number // copies) for number, ids in enumerate(input_ids)]
        return torch.stack([self.score(row, own).float() for row, own in zip(rows, scores, strict=True)])

    def row(self, ids: Tensor, number: int) -> Row:
        """The text of ``ids``, which continue prompt ``number``."""
        prompt = self.batch.ids[number][self.batch.mask[number].bool()]
        new = ids[1 if self.encoder_decoder else self.batch.ids.shape[1] :]
        return Row(ids if self.encoder_decoder else torch.cat([prompt, new]), new, prompt, self.batch.index[number])


def batch_of(family: Family, model: PreTrainedModel) -> Batch:
    """Ragged prompts, or one where transformers itself cannot pad."""
    lengths = LENGTHS if family.padded else LENGTHS[:1]
    ids, mask = prompts(model, lengths, padding="right" if model.config.is_encoder_decoder else "left")
    return Batch(ids, mask, tuple(range(len(lengths))))


def other_batch(batch: Batch) -> Batch:
    """Other texts of the same shape, beginning in places like those of ``batch``."""
    shift = torch.arange(batch.ids.shape[1]) > batch.ids.shape[1] // 2
    return Batch(torch.where(batch.mask.bool() & shift, 4 + (batch.ids + 7) % 90, batch.ids), batch.mask, batch.index)


def generate(model: PreTrainedModel, batch: Batch, processors: Sequence[Processor], seed: int = 0, **mode: Any) -> Any:
    """What ``generate`` gives with these processors, in this mode: the sequences, logits and scores."""
    torch.manual_seed(seed)
    arguments = PLAIN | {"return_dict_in_generate": True, "output_logits": True, "output_scores": True} | mode
    used = [*processors, *arguments.pop("after", [])]
    return model.generate(batch.ids, attention_mask=batch.mask, logits_processor=used, **arguments)


def tokens(model: PreTrainedModel, batch: Batch, processors: Sequence[Processor], **mode: Any) -> list[list[int]]:
    """The new tokens of every row."""
    start = 1 if model.config.is_encoder_decoder else batch.ids.shape[1]
    return generate(model, batch, processors, **mode).sequences[:, start:].tolist()


class Histories(list[Tensor]):
    """A processor that changes nothing: the ids of each step, in the order of their rows."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.append(input_ids.clone())
        return scores


def equals_the_reference(case: Case, model: PreTrainedModel, batch: Batch, **mode: Any) -> None:
    """Sequences and every step's scores are the reference's, in this mode and again with the same object.

    Scores are equal but for rounding. So are texts: they may part at a step at which two choices of the reference were nearer than
    that; what follows does not compare.
    """
    used, texts = case.build(model, batch), Histories()
    with watching() as watch:
        expected = generate(model, batch, [texts, Stateless(model, batch, case.reference(model), watch)], **mode)
    texts.append(expected.sequences)
    close = CLOSE | {"atol": max(CLOSE["atol"], rounding(model.dtype, depth(model), watch.largest))}
    for time in ("first", "second"):
        own = Histories()
        found = generate(model, batch, [own, *used], **mode)
        own.append(found.sequences)
        for step, scores in enumerate(expected.scores):
            assert torch.allclose(found.scores[step], scores, **close), f"{case}, {time} time: scores of step {step}"
            if not torch.equal(own[step + 1], texts[step + 1]):
                nearest = min(watch.gaps[: step + 1])  # sums of beams
                assert nearest < TURNED * (step + 1) * close["atol"], f"{case}, {time} time: tokens of step {step}"
                break
        else:
            assert len(own) == len(texts), f"{case}, {time} time: steps"


def rows_are_independent(case: Case, model: PreTrainedModel, batch: Batch) -> None:
    """A padded batch gives each row what it gets alone, which is what a loop of full forwards gives."""
    together = tokens(model, batch, case.build(model, batch))
    for number, found in enumerate(together):
        alone = batch.alone(number)
        assert tokens(model, alone, case.build(model, alone))[0] == found, f"{case}: row {number} alone"
        assert greedy(model, alone, case.reference(model)) == found, f"{case}: row {number} by the reference"


def greedy(model: PreTrainedModel, alone: Batch, score: Score) -> list[int]:
    """The best token by ``score``, step by step, every logit from a full forward of one unpadded row."""
    stateless = Stateless(model, alone, score)
    ids = torch.full((1, 1), int(model.generation_config.decoder_start_token_id or 0)) if stateless.encoder_decoder else alone.ids
    start = ids.shape[1]
    for _ in range(STEPS):
        inputs = {"input_ids": alone.ids, "decoder_input_ids": ids} if stateless.encoder_decoder else {"input_ids": ids}
        scores = stateless(ids, model(**inputs, use_cache=False).logits[:, -1])
        ids = torch.cat([ids, scores.argmax(dim=-1, keepdim=True)], dim=1)
    return ids[0, start:].tolist()


def drafts_change_nothing(case: Case, model: PreTrainedModel, batch: Batch, **mode: Any) -> None:
    """Assisted decoding and prompt lookup, which take rejected tokens back, give greedy search's text; again on reuse.

    One prompt at a time, as transformers wants it, that repeats itself, so that there is something to look up.
    """
    skip_failing_drafts(model, mode)
    batch = batch.alone(0)
    if not model.config.is_encoder_decoder:
        ids = batch.ids[:, :6].repeat(1, 2)
        batch = Batch(ids, torch.ones_like(ids), batch.index)
    used = case.build(model, batch)
    expected = tokens(model, batch, [Stateless(model, batch, case.reference(model))])
    for time in ("first", "second"):
        assert tokens(model, batch, used, **mode) == expected, f"{case}, {time} time"


def calls_do_not_meet(case: Case, model: PreTrainedModel, batch: Batch, **mode: Any) -> None:
    """One object serves one call after another, and two at a time, in other threads and on other texts."""
    batches = [batch, other_batch(batch)]
    expected = [tokens(model, one, [Stateless(model, one, case.reference(model))], **mode) for one in batches]
    assert expected[0] != expected[1], "the same text twice is no test of anything"
    used = case.build(model, batch)
    for turn in (0, 1, 0):
        assert tokens(model, batches[turn], used, **mode) == expected[turn], f"{case}: call {turn} in turn"
    found: dict[int, list[Any]] = {0: [], 1: []}

    def call(turn: int) -> None:
        for _ in range(2):
            found[turn].append(tokens(model, batches[turn], used, **mode))

    threads = [threading.Thread(target=call, args=(turn,)) for turn in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {turn: [expected[turn]] * 2 for turn in found}, f"{case}: at a time"


def bans_hold(case: Case, model: PreTrainedModel, batch: Batch, **mode: Any) -> None:
    """Tokens that another processor has banned stay banned, however the contrast would like them."""
    free = tokens(model, batch, case.build(model, batch), **mode)
    banned = sorted({token for row in free for token in row})
    output = generate(model, batch, case.build(model, batch), suppress_tokens=banned, **mode)
    new = output.sequences[:, -STEPS:]
    assert not torch.isin(new, torch.tensor(banned)).any(), f"{case}: a banned token was taken"
    assert all((scores[:, banned] == -torch.inf).all() for scores in output.scores), f"{case}: a banned token has a score"
    equals_the_reference(case, model, batch, suppress_tokens=banned, **mode)


def inputs_stay(case: Case, model: PreTrainedModel, batch: Batch) -> None:
    """Nothing given is changed in place: not ids, mask or weights, and ``output_logits`` are the model's own."""
    before = [tensor.clone() for tensor in (batch.ids, batch.mask, *model.parameters())]
    output = generate(model, batch, case.build(model, batch))
    for tensor, copy in zip((batch.ids, batch.mask, *model.parameters()), before, strict=True):
        assert torch.equal(tensor, copy), f"{case}: an input was changed"
    plain = generate(model, batch, [lambda ids, scores: torch.full_like(scores, -1e4).scatter(1, chosen(ids, output), 0.0)])
    assert plain.sequences.tolist() == output.sequences.tolist()
    for own, other in zip(output.logits, plain.logits, strict=True):
        assert torch.allclose(own, other, **CLOSE), f"{case}: output_logits were changed"


def chosen(ids: Tensor, output: Any) -> Tensor:
    """The token that ``output`` has after ``ids``, ``[rows, 1]``."""
    following: Tensor = output.sequences[:, ids.shape[1]]
    return following[:, None]


def embeds_work_or_are_refused(case: Case, model: PreTrainedModel, batch: Batch) -> None:
    """Prompts as ``inputs_embeds``, of which a processor sees no ids."""
    inputs = {"inputs_embeds": model.get_input_embeddings()(batch.ids), "attention_mask": batch.mask}
    used = list(case.build(model, batch))
    if not case.embeds:
        with pytest.raises(ValueError, match="pass input_ids as well"):
            model.generate(**inputs, logits_processor=used, **PLAIN)
    else:
        found = model.generate(**inputs, logits_processor=used, **PLAIN).tolist()
        assert found == tokens(model, batch, case.build(model, batch)), case
    both = model.generate(batch.ids, **inputs, logits_processor=used, **PLAIN)[:, batch.ids.shape[1] :].tolist()
    assert both == tokens(model, batch, case.build(model, batch)), f"{case}: with input_ids as well"
