"""The laws that a decoder keeps, as tests for anybody's own.

A subclass of :class:`DecoderLaws` in a test module says how the decoder is made, and pytest collects a test for every law. They run
on a tiny Llama with random weights that is made on the spot: no network, no checkpoint, a few seconds in all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from counterpoint.decoders.base import DistributionProcessor
from counterpoint.decoders.law_tools import (
    VOCABULARY,
    Forced,
    Generated,
    Processor,
    Recorder,
    Watched,
    change_weights,
    check,
    check_refused,
    check_same,
    close,
    in_step,
    left_padded,
    models_of,
    prompts,
)
from counterpoint.decoders.scoring import score

STEPS = 8
"""Tokens that a decoder generates under a law."""


def tiny_model(seed: int = 0) -> PreTrainedModel:
    """A Llama of three layers and 96 tokens in float32, whose greedy texts are not one token repeated.

    Example:
        >>> from counterpoint.decoders.testing import tiny_model
        >>> tiny_model().config.num_hidden_layers
        3
    """
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = LlamaForCausalLM(config)
        model.eval().requires_grad_(False)
        spread = {model.get_input_embeddings(): 1.0, model.get_output_embeddings(): 0.45}  # rounding decides no rank among logits
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                module.weight.normal_(std=spread.get(module, 0.25))
    return model


class DecoderLaws:
    """The laws, to be subclassed in a test module.

    Example:
        >>> from counterpoint.decoders import ContrastiveDecodingLogitsProcessor
        >>> from counterpoint.decoders.testing import DecoderLaws, tiny_model
        >>> class TestContrastiveDecoding(DecoderLaws):
        ...     def make_processor(self, model):
        ...         return ContrastiveDecodingLogitsProcessor(tiny_model(seed=1))
        >>> TestContrastiveDecoding().test_scoring_agrees_with_generation()
    """

    mode: Mapping[str, Any] = {}
    """Arguments of ``generate`` without which the decoder refuses to run."""
    refuses: frozenset[str] = frozenset()
    """What the decoder refuses by a ``ValueError``, so that the law is that it does: "batch", "beams", "drafts"."""

    def make_model(self) -> PreTrainedModel:
        """The model that generates; a decoder-only model in float32 on the CPU."""
        return tiny_model()

    def make_processor(self, model: PreTrainedModel) -> Processor:
        """A new logits processor for ``model``. One that depends on the prompt is made for one other prompt for all rows."""
        raise NotImplementedError(f"{type(self).__name__} says by make_processor(model) what is tested")

    def make_arguments(self, model: PreTrainedModel) -> dict[str, Any]:
        """The arguments of ``generate`` that make up the decoder; to be overridden for a ``custom_generate`` callable."""
        return {"logits_processor": [self.make_processor(model)]}

    def test_a_row_gets_what_it_gets_alone(self) -> None:
        """Neither padding nor the other rows of a batch change a text or its scores."""
        model, rows = self.make_model(), prompts()
        alone = [self._generate(model, [row]) for row in rows]
        for number, row in enumerate(rows):
            found = self._generate(model, [row], padding=5)
            check_same(found, alone[number], f"prompt {number} with padding on its left is not what it is without")
        if "batch" in self.refuses:
            return check_refused(lambda: self._generate(model, rows), "a batch of several prompts")
        together = self._generate(model, rows)
        for number in range(len(rows)):
            check_same(together.row(number), alone[number], f"row {number} of a batch is not what it is alone")
        return None

    def test_calls_do_not_meet(self) -> None:
        """An object serves one ``generate`` after another, and two at a time, as new objects would."""
        model, (one, other, _) = self.make_model(), prompts()
        expected = {turn: self._generate(model, [row]) for turn, row in enumerate((one, other))}
        used = self.make_arguments(model)
        for turn, row in ((0, one), (1, other), (0, one)):
            found = self._generate(model, [row], used)
            check_same(found, expected[turn], "an object that was used before gives something else than a new one")
        together = in_step(
            lambda meet: self._generate(model, [one], used, meet), lambda meet: self._generate(model, [other], used, meet)
        )
        for turn, found in enumerate(together):
            check_same(found, expected[turn], "an object that serves two calls at a time gives something else than two objects")

    def test_nothing_outlives_its_weights(self) -> None:
        """After the weights of its models have changed in place, an object generates and scores as a new one.

        They change as PEFT merges an adapter, through ``.data``, which leaves identity and version of a weight as they were.
        """
        model, row = self.make_model(), prompts()[0]
        used = self.make_arguments(model)
        before = self._generate(model, [row], used)
        for each in models_of([model, used]):
            change_weights(each)
        found = self._generate(model, [row], used)
        new = self.make_arguments(model)
        for each in models_of([model, new]):
            if each is not model:
                change_weights(each)
        expected = self._generate(model, [row], new)
        check(not close(before.scores, expected.scores), "other weights change nothing: the law says nothing of this decoder")
        check_same(found, expected, "an object used before the weights changed gives something else than a new one")
        decoder = used.get("logits_processor", ())
        if not decoder or not all(isinstance(processor, DistributionProcessor) for processor in decoder):
            return
        for each in models_of([model, used]):
            change_weights(each)
        for each in models_of([model, new]):
            if each is not model:
                change_weights(each)
        (own,), (fresh,) = (score(model, None, [row], [expected.tokens], each["logits_processor"])[0] for each in (used, new))
        same = close(torch.tensor(own.log_probabilities), torch.tensor(fresh.log_probabilities))
        check(same, "score() by an object used before the weights changed gives something else than by a new one")

    def test_beams_follow_their_texts(self) -> None:
        """Under beams, which change places, a row's scores are those of its own text."""
        model, row = self.make_model(), prompts()[0]
        if "beams" in self.refuses:
            return check_refused(lambda: self._generate(model, [row], mode={"num_beams": 3}), "beams")
        used, mode = self.make_arguments(model), {"num_beams": 3, "num_return_sequences": 3, **self.mode}
        expected = self._generate(model, [row], mode=mode).tokens
        for time in ("first", "second"):
            check(self._generate(model, [row], used, mode=mode).tokens == expected, f"beams differ at the {time} use of an object")
        if "num_beams" in self.mode or "logits_processor" not in used:  # there are no scores of a row by itself
            return None
        calls = Recorder()
        self._generate(model, [row], {"logits_processor": [*used["logits_processor"], calls]}, mode=mode)
        for text in expected:
            alone = Recorder()
            decoder = [*self.make_arguments(model)["logits_processor"], alone, Forced([*row, *text])]
            self._generate(model, [row], {"logits_processor": decoder})
            for step in range(STEPS):
                ids = [*row, *text[:step]]
                same = close(calls.after(ids).softmax(dim=-1), alone.after(ids).softmax(dim=-1))
                check(same, f"step {step}: a beam's scores are not those of its text alone, so rows are not followed")
        return None

    def test_drafts_change_nothing(self) -> None:
        """With an assistant's drafts or those of prompt lookup, many of which are taken back, the text is that of greedy search."""
        model = self.make_model()
        row = prompts()[1] * 2  # repeats itself, so that there is something to look up
        for name, drafter in {"prompt_lookup_num_tokens": 3, "assistant_model": tiny_model(seed=7)}.items():
            used = self.make_arguments(model)
            assisted = partial(self._generate, model, [row], used, mode={name: drafter})
            if "drafts" in self.refuses:
                check_refused(assisted, name)
                continue
            expected = self._generate(model, [row]).tokens
            for time in ("first", "second"):
                check(assisted().tokens == expected, f"{name} changes the text at the {time} use of an object")

    def test_scoring_agrees_with_generation(self) -> None:
        """``score`` gives a generated text the log-probabilities that ``generate`` chose by, or refuses the decoder."""
        model, rows = self.make_model(), prompts()
        decoder = self.make_arguments(model).get("logits_processor")
        if decoder is None:  # a loop of its own defines no distribution
            return
        try:
            score(model, None, rows, [[[5]]] * len(rows), decoder)
        except ValueError as error:
            if any(isinstance(processor, DistributionProcessor) for processor in decoder):
                raise AssertionError("score() refuses a DistributionProcessor") from error
            return
        generated = [self._generate(model, [row]) for row in rows]
        texts = [each.tokens[0] for each in generated]
        found = score(model, None, rows, [[text, [*text[:3], 5]] for text in texts], decoder)
        for number, each in enumerate(generated):
            chosen = torch.tensor(texts[number])[:, None]
            expected = each.scores[:, 0].log_softmax(dim=-1).gather(1, chosen)[:, 0]
            text, fork = (torch.tensor(scored.log_probabilities) for scored in found[number])
            same = close(text, expected) and close(fork[:3], expected[:3])
            check(same, f"text {number}: score() gives {text.tolist()}, generate() chose by {expected.tolist()}")

    def test_no_input_is_changed(self) -> None:
        """Ids, mask, weights and the scores of the model stay as they are."""
        model, rows = self.make_model(), prompts()[:1]
        weights = {name: weight.clone() for name, weight in model.named_parameters()}
        used = self.make_arguments(model)
        processors = [Watched(processor) for processor in used.get("logits_processor", ())]
        found = self._generate(model, rows, used | ({"logits_processor": processors} if processors else {}))
        for name, weight in model.named_parameters():
            check(torch.equal(weight, weights[name]), f"the weight {name} was changed in place")
        if processors:
            return
        text = torch.tensor([[*rows[0], *found.tokens[0]]])
        logits = model(text).logits[:, len(rows[0]) - 1 : -1].transpose(0, 1)
        check(close(found.logits, logits), "output_logits are not the model's own, so they were changed in place")

    def _generate(
        self,
        model: Any,
        rows: Sequence[Sequence[int]],
        decoder: Mapping[str, Any] | None = None,
        meet: Callable[[], None] | None = None,
        padding: int = 0,
        mode: Mapping[str, Any] | None = None,
    ) -> Generated:
        """What ``generate`` makes of the rows, by a new decoder unless one is given; ``meet`` is called after every token."""
        ids, mask = left_padded(rows, padding)
        given = ids.clone(), mask.clone()

        def criterion(input_ids: Tensor, scores: Any) -> Tensor:
            if meet is not None:
                meet()
            return torch.zeros(len(input_ids), dtype=torch.bool)

        arguments = {**(self.make_arguments(model) if decoder is None else decoder), **self.mode, **(mode or {})}
        output = model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=STEPS,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
            return_dict_in_generate=True,
            output_scores=True,
            output_logits=True,
            stopping_criteria=[criterion],
            **arguments,
        )
        check(torch.equal(ids, given[0]) and torch.equal(mask, given[1]), "input_ids or attention_mask were changed in place")
        new = output.sequences[:, ids.shape[1] :].tolist()
        return Generated(new, torch.stack(output.scores).float(), torch.stack(output.logits))
