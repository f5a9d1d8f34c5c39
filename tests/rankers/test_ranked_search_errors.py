"""What ranked search cannot do is refused by name, with the way out, and what its ranker does wrong as well."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import (
    MaxLengthCriteria,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
    StopStringCriteria,
    set_seed,
)
from transformers.generation.streamers import TextStreamer

import ranked_search_laws as laws
from counterpoint.decoders.hf.caches import CACHE
from counterpoint.rankers import ranked_search
from families import FAMILY
from laws import Listener
from processor_laws import Batch, batch_of


@pytest.fixture
def model() -> PreTrainedModel:
    return FAMILY["llama"].build()


@pytest.fixture
def batch(model: PreTrainedModel) -> Batch:
    return batch_of(FAMILY["llama"], model)


REFUSED: dict[str, dict[str, Any]] = {
    "ranker=None": {"ranker": None},
    "pass processing_class=tokenizer": {"processing_class": None},
    "beams=0 is not a number of beams": {"beams": 0},
    "candidates=-1 is not a number of candidates": {"candidates": -1},
    "tokens_per_round=0 is not a number of tokens": {"tokens_per_round": 0},
    "do_sample=False proposes the same continuation 6 times": {"do_sample": False},
    "num_return_sequences=3 is more than beams=2": {"num_return_sequences": 3},
    "pass beams=3": {"num_beams": 3},
    "prompt_lookup_num_tokens=3": {"prompt_lookup_num_tokens": 3},
    "assistant_early_exit=2": {"assistant_early_exit": 2},
    "ContrastiveSearchLogitsProcessor": {"penalty_alpha": 0.6},
    "DoLaLogitsProcessor": {"dola_layers": "high"},
    "output_scores=True": {"output_scores": True},
    "output_logits=True": {"output_logits": True},
    "output_hidden_states=True": {"output_hidden_states": True},
    "output_attentions=True": {"output_attentions": True},
    "for guidance_scale ContextAwareLogitsProcessor": {"guidance_scale": 1.5},
    "PrefixConstrainedLogitsProcessor belongs to fixed rows": {"prefix_allowed_tokens_fn": lambda row, ids: [5]},
    "EncoderRepetitionPenaltyLogitsProcessor": {"encoder_repetition_penalty": 1.5},
    "synced_gpus=True": {"synced_gpus": True},
    "one text at a time can be streamed, not 3": {"streamer": Listener()},
    "StaticCache": {"cache_implementation": "static"},
    "prefixes='one text': pass a list of 3": {"prefixes": "one text"},
    "prefixes=['one']: pass a list of 3": {"prefixes": ["one"]},
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused_by_name(message: str, model: PreTrainedModel, batch: Batch) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        laws.search(model, batch, **REFUSED[message])


def test_assisted_decoding_is_refused(model: PreTrainedModel, batch: Batch) -> None:
    with pytest.raises(ValueError, match="assistant_model=LlamaForCausalLM"):
        laws.search(model, batch, assistant_model=model)


def test_texts_of_different_lengths_need_padding(model: PreTrainedModel, batch: Batch) -> None:
    with pytest.raises(ValueError, match="pad_token_id=None"):
        laws.search(model, batch, pad_token_id=None, stopping_criteria=[lambda ids, scores: ids[:, -1] == 5])


def test_embeddings_need_the_prompts_as_texts(model: PreTrainedModel, batch: Batch) -> None:
    with pytest.raises(ValueError, match="pass their texts as prefixes="):
        model.generate(
            inputs_embeds=model.get_input_embeddings()(batch.ids),
            custom_generate=ranked_search,
            ranker=laws.Liking(),
            processing_class=laws.toy_tokenizer(),
            **laws.SAMPLING,
        )


@pytest.mark.parametrize("name", ["rwkv", "recurrent_gemma"])
def test_a_state_out_of_reach(name: str) -> None:
    model = FAMILY[name].build()
    with pytest.raises(ValueError, match="pass use_cache=False"):
        laws.search(model, batch_of(FAMILY[name], model))


def test_a_given_recurrent_state() -> None:
    model = FAMILY["mamba"].build()
    batch = batch_of(FAMILY["mamba"], model)
    name = CACHE if CACHE == "cache" else "cache_params"  # as older releases call that of recurrent models
    state = model(batch.ids, use_cache=True)[name]
    with pytest.raises(ValueError, match="holds recurrent states"):
        laws.search(model, batch, **{name: state})


@pytest.mark.parametrize("new", [1, 9])
def test_new_tokens_alone_are_no_text_to_judge(new: int, model: PreTrainedModel, batch: Batch) -> None:
    alone = batch.alone(1)
    held = model(alone.ids[:, :5], use_cache=True)[CACHE]
    longer = Batch(alone.ids[:, :1].expand(1, new), torch.ones(1, 5 + new, dtype=torch.long), alone.index)
    with pytest.raises(ValueError, match="rankers read the whole text"):
        laws.search(model, longer, **{CACHE: held})


def test_right_padding_is_refused(model: PreTrainedModel, batch: Batch) -> None:
    right = Batch(batch.ids.flip(1), batch.mask.flip(1), batch.index)
    with pytest.raises(ValueError, match="pad on the left"):
        laws.search(model, right)


def test_logits_that_are_not_numbers(model: PreTrainedModel, batch: Batch) -> None:
    with pytest.raises(ValueError, match="logits are NaN in rows"):
        laws.search(model, batch, [lambda ids, scores: scores * torch.nan])


def test_scores_that_are_not_numbers(model: PreTrainedModel, batch: Batch) -> None:
    class Broken(laws.Liking):
        def prepare(self, prefixes: Sequence[str]) -> Any:
            return lambda candidates: [torch.full((len(own),), torch.nan) for own in candidates]

    with pytest.raises(ValueError, match="Broken gave NaN"):
        laws.search(model, batch, ranker=Broken())


def test_stop_strings_end_a_text(expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    inputs = tokenizer(["The whale rose", "She was very happy, and"], return_tensors="pt", padding=True, padding_side="left")
    set_seed(0)
    found = expert.generate(
        **inputs,
        custom_generate=ranked_search,
        ranker=laws.Liking(),
        processing_class=tokenizer,
        stopping_criteria=StoppingCriteriaList([StopStringCriteria(tokenizer, [","]), MaxLengthCriteria(60)]),
        tokens_per_round=5,
        return_dict_in_generate=True,
        **(laws.SAMPLING | {"max_new_tokens": 30, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}),
    )
    ended = [each for rounds in found.tree for pool in rounds for each in pool if "," in each.text]
    assert ended
    assert all(each.ended and each.text.index(",") >= len(each.text) - 3 for each in ended)


def test_a_text_streamer(expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, capsys: pytest.CaptureFixture[str]) -> None:
    found = expert.generate(
        **tokenizer("The whale rose", return_tensors="pt"),
        custom_generate=ranked_search,
        ranker=laws.Liking(),
        processing_class=tokenizer,
        streamer=TextStreamer(tokenizer),
        do_sample=True,
        max_new_tokens=25,
    )
    assert capsys.readouterr().out.strip() == tokenizer.decode(found[0]).strip()
