"""``decoder()``: any row of the table as arguments of ``generate``, with the command line's names, defaults and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders import (
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    DoLaLogitsProcessor,
    contrastive_search,
    decoder,
    decoders,
)

PROMPT = "It was a cold day on the sea.\n\nThe whale rose"


@pytest.mark.parametrize("name", [name for name, row in decoders().items() if "processor" not in row.needs])  # a model of texts
def test_every_decoder_generates(
    name: str, expert: PreTrainedModel, amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    inputs = tokenizer(PROMPT, return_tensors="pt")
    given: dict[str, Any] = {"amateur": amateur} if "amateur" in decoders()[name].needs else {}
    given |= {"decore": {"heads": "1-0+2-1"}}.get(name, {})
    torch.manual_seed(0)
    model: Any = expert
    ids = model.generate(**inputs, **decoder(name, expert, tokenizer, prompts=PROMPT, **given), max_new_tokens=4)
    assert ids.shape == (1, inputs.input_ids.shape[1] + 4)


def test_a_number_may_be_numpys(expert: PreTrainedModel) -> None:
    """A sweep over ``np.linspace`` gives NumPy's numbers."""
    given = decoder("contrastive_search", expert, penalty_alpha=np.float64(0.5), top_k=np.int64(4))
    assert (given["penalty_alpha"], given["top_k"]) == (0.5, 4)
    assert [type(given[name]) for name in ("penalty_alpha", "top_k")] == [float, int]
    with pytest.raises(ValueError, match=r"top_k=4.5 is not a whole number"):
        decoder("contrastive_search", expert, top_k=np.float32(4.5))


def test_a_search_says_nothing_of_sampling_unless_the_checkpoint_samples(
    expert: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``do_sample=False`` in so many words makes ``generate`` warn that ``top_k`` is ignored, which it is not."""
    assert "do_sample" not in decoder("contrastive_search", expert)
    monkeypatch.setattr(expert.generation_config, "do_sample", True)
    assert decoder("contrastive_search", expert)["do_sample"] is False


def test_prompts_are_as_many_as_rows(expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    model: Any = expert
    prompts = [f"It was {word}.\n\nThe whale" for word in ("late", "cold", "dark", "long")]
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    with pytest.raises(ValueError, match="prompt has 2 rows, the batch 4"):
        model.generate(**inputs, **decoder("context_aware", expert, tokenizer, prompts=prompts[:2]), max_new_tokens=2)
    two = {name: tensor[:2] for name, tensor in inputs.items()}
    arguments = decoder("context_aware", expert, tokenizer, prompts=prompts[:2])
    assert len(model.generate(**two, **arguments, max_new_tokens=2, num_beams=2, num_return_sequences=2)) == 4
    with pytest.raises(ValueError, match=r"prompts=\[\]: give what will be continued"):
        decoder("context_aware", expert, tokenizer, prompts=[])
    with pytest.raises(ValueError, match="ends in a blank line, so that nothing follows its context"):
        decoder("context_aware", expert, tokenizer, prompts=["The whale\n\n"])


def generated(model: Any, inputs: Any, **arguments: Any) -> list[int]:
    """The ids of ten new tokens."""
    found: list[int] = model.generate(**inputs, **arguments, max_new_tokens=10)[0].tolist()
    return found


def test_it_is_what_the_constructors_make(
    expert: PreTrainedModel, amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    inputs = tokenizer(PROMPT, return_tensors="pt")
    question = tokenizer("The whale rose", return_tensors="pt")
    for arguments, expected in (
        (decoder("dola:layers=low", expert, alpha=0.2), [DoLaLogitsProcessor(expert, layers="low", alpha=0.2)]),
        (decoder("dola", expert, layers=[1, 2]), [DoLaLogitsProcessor(expert, layers=[1, 2])]),
        (decoder("contrastive_decoding", expert, amateur=amateur), [ContrastiveDecodingLogitsProcessor(amateur)]),
        (decoder("context_aware", expert, tokenizer, prompts=[PROMPT]), [ContextAwareLogitsProcessor(expert, question)]),
    ):
        assert generated(expert, inputs, **arguments) == generated(expert, inputs, logits_processor=expected, do_sample=False)
    search = dict(custom_generate=contrastive_search, penalty_alpha=0.6, top_k=4, do_sample=False)
    assert generated(expert, inputs, **decoder("contrastive_search:top_k=4", expert)) == generated(expert, inputs, **search)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(choice="nuclues"), "did you mean nucleus"),
        (dict(choice="dola", depth=3), "dola has no 'depth'"),
        (dict(choice="dola", alpha="high"), "alpha=high is not a number"),
        (dict(choice="contrastive_search", top_k=0), "top_k=0 is not a whole number of 1 or more"),
        (dict(choice="contrastive_decoding"), "no amateur: give amateur="),
        (dict(choice="contrastive_decoding:amateur=gpt2"), "is loaded by the command line alone; in Python pass amateur=model"),
        (dict(choice="context_aware"), "needs tokenizer="),
        (dict(choice="best_of"), "unknown decoder 'best_of'"),
    ],
)
def test_errors(arguments: dict[str, Any], message: str, expert: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match=message):
        decoder(arguments.pop("choice"), expert, **arguments)


def test_stop_strings_of_a_checkpoint_are_refused_where_generate_would_ask_for_what_it_keeps(
    expert: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expert.generation_config, "stop_strings", ["."])
    with pytest.raises(ValueError, match="from contrastive_search; set them to None there, and pass stopping_criteria="):
        decoder("contrastive_search", expert)
    assert decoder("dola", expert)["logits_processor"]  # generate's own loop gets the tokenizer
