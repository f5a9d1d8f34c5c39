"""A first token that the generation configuration forces on a decoder: scored texts begin with it as written ones do."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessor

from counterpoint.decoders import ContrastiveDecodingLogitsProcessor, EncoderDecoderAmateur, score
from every_family import build

START, LANGUAGE, STEPS, PROMPT = 1, 77, 6, [5, 9, 33, 12, 60]
FAMILIES = [
    "bart:BartForConditionalGeneration",
    "mbart:MBartForConditionalGeneration",
    "m2m_100:M2M100ForConditionalGeneration",
    "t5:T5ForConditionalGeneration",
]


def forcing(name: str, seed: int = 0) -> Any:
    """A model that must begin with the language."""
    model: Any = deepcopy(build(name, seed))
    model.generation_config.update(decoder_start_token_id=START, forced_bos_token_id=LANGUAGE, eos_token_id=None, pad_token_id=0)
    return model


class OneLanguage(LogitsProcessor):
    """The language does not come again: with random weights some models say nothing else."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores, without it after the beginning."""
        return scores if input_ids.shape[1] == 1 else scores.index_fill(1, torch.tensor([LANGUAGE]), -torch.inf)


def written(model: Any, processors: list[Any]) -> tuple[list[int], Tensor]:
    """A text drawn after the decoder's start, and the log-probability that ``generate`` gave each token."""
    ids = torch.tensor([PROMPT])
    torch.manual_seed(3)
    mode = dict(max_new_tokens=STEPS, do_sample=True, top_k=0, return_dict_in_generate=True, output_scores=True)
    output = model.generate(ids, logits_processor=processors, **mode)
    tokens = output.sequences[0, -STEPS:]
    return tokens.tolist(), torch.cat(output.scores).float().log_softmax(-1).gather(1, tokens[:, None])[:, 0]


@pytest.mark.parametrize("contrast", [False, True], ids=["alone", "contrast"])
@pytest.mark.parametrize("name", FAMILIES)
def test_l6_a_text_with_a_forced_beginning(name: str, contrast: bool) -> None:
    model = forcing(name)
    inputs = {"input_ids": torch.tensor([[8, 44]])}
    amateur = ContrastiveDecodingLogitsProcessor(EncoderDecoderAmateur(forcing(name, 1), inputs))
    processors = [OneLanguage(), amateur] if contrast else [OneLanguage()]
    tokens, expected = written(model, processors)
    assert tokens[0] == LANGUAGE
    assert float(expected[0]) == 0  # nobody chose it
    for continuation in (tokens, tokens[1:]):  # a row of ``generate``, and a text
        ((found,),) = score(model, None, [PROMPT], [[continuation]], processors)
        assert list(found.tokens) == tokens[1:]
        torch.testing.assert_close(torch.tensor(found.log_probabilities), expected[1:], atol=2e-4, rtol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_text_without_its_beginning_has_another_score(name: str) -> None:
    """By one forward of the whole text; and without anything forced, the text begins after the decoder's start."""
    model = forcing(name)
    text, totals = [20, 31, 7], []
    for begin in ([START, LANGUAGE], [START]):
        ids = torch.tensor([[*begin, *text[:-1]]])
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([PROMPT]), decoder_input_ids=ids, use_cache=False).logits[0, len(begin) - 1 :]
        right = float(logits.log_softmax(-1).gather(1, torch.tensor(text)[:, None]).sum())
        ((found,),) = score(model, None, [PROMPT], [[text]])
        assert found.total == pytest.approx(right, abs=1e-3)
        totals.append(right)
        model.generation_config.forced_bos_token_id = None
    assert abs(totals[0] - totals[1]) > 0.1


def test_nothing_but_the_beginning_is_no_text() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        score(forcing(FAMILIES[0]), None, [PROMPT], [[[LANGUAGE]]])
