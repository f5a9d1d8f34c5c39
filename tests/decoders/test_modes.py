"""Every mode of ``generate`` works or is refused by name; nothing is ignored (laws L3, L4 and L7)."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    GenerationMixin,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StopStringCriteria,
    TopPLogitsWarper,
    pipeline,
)

import laws
from counterpoint.decoders import contrastive_search, install, uninstall
from counterpoint.decoders.hf.caches import CACHE, QuantisedLayer
from counterpoint.decoders.hf.generate_call import GENERATE_CODE
from families import FAMILY, WINDOW, prompts

LLAMA = FAMILY["llama"]
SOME = ["llama", "gpt2", "mistral_sliding", "gemma3_sliding", "bloom", "mamba", "lfm2"]


@pytest.fixture
def model() -> PreTrainedModel:
    return LLAMA.build()


@pytest.mark.parametrize("name", SOME)
def test_calls_do_not_meet(name: str) -> None:
    laws.l3_calls_do_not_meet(FAMILY[name].build())


@pytest.mark.parametrize("name", SOME)
def test_outputs_mean_what_they_say(name: str) -> None:
    laws.l7_outputs_mean_what_they_say(FAMILY[name].build())


def test_a_streamer_hears_every_token(model: PreTrainedModel) -> None:
    laws.l4_streams(model)


def test_generate_still_has_the_frame_that_is_read() -> None:
    """transformers keeps ``streamer`` and two others from callables; if it moves them, this is where it shows."""
    assert inspect.unwrap(GenerationMixin.generate).__code__ is GENERATE_CODE
    assert {"streamer", "synced_gpus", "assistant_model"} <= set(GENERATE_CODE.co_varnames)


@pytest.mark.parametrize("name", SOME)
def test_continues_from_its_own_cache(name: str) -> None:
    model = FAMILY[name].build()
    ids, mask = prompts(model, (11, 7))
    whole = laws.new_tokens(model, ids, mask, max_new_tokens=2 * WINDOW)
    arguments = laws.PLAIN | laws.RULE | {"max_new_tokens": WINDOW}
    first = model.generate(ids, attention_mask=mask, return_dict_in_generate=True, **arguments)
    if name == "mamba":
        assert first.get(CACHE) is None  # a recurrent state cannot give up its last token
        return
    held = first[CACHE].get_seq_length()
    assert held == first.sequences.shape[1] - 1
    longer = torch.cat([mask, torch.ones(2, WINDOW, dtype=mask.dtype)], dim=1)
    second = model.generate(first.sequences, attention_mask=longer, **{CACHE: first[CACHE]}, **arguments)
    assert second[:, ids.shape[1] :].tolist() == whole


def test_continues_from_a_cache_that_greedy_left(model: PreTrainedModel) -> None:
    ids, mask = prompts(model, (9,))
    first = model.generate(ids, attention_mask=mask, return_dict_in_generate=True, **(laws.PLAIN | {"max_new_tokens": 5}))
    longer = torch.ones_like(first.sequences)
    continued = laws.new_tokens(model, first.sequences, longer, **{CACHE: first[CACHE]})
    assert continued == laws.new_tokens(model, first.sequences, longer)


def test_new_tokens_alone_cannot_continue_a_cache(model: PreTrainedModel) -> None:
    ids, mask = prompts(model, (9,))
    first = model.generate(ids, attention_mask=mask, return_dict_in_generate=True, **laws.PLAIN)
    mask = torch.ones(1, first.sequences.shape[1] + 1, dtype=torch.long)
    with pytest.raises(ValueError, match="pass all of it as input_ids"):
        laws.new_tokens(model, first.sequences[:, -2:], mask, **{CACHE: first[CACHE]})


def test_a_recurrent_state_cannot_be_continued() -> None:
    model = FAMILY["mamba"].build()
    ids, mask = prompts(model, (9,))
    first = model.generate(ids, attention_mask=mask, return_dict_in_generate=True, **laws.PLAIN)
    name = CACHE if CACHE == "cache" else "cache_params"  # as older releases call that of recurrent models
    with pytest.raises(ValueError, match="holds recurrent states"):
        laws.new_tokens(model, first.sequences, **{name: first[CACHE]})


def test_a_dynamic_cache_of_the_users_own(model: PreTrainedModel) -> None:
    ids, mask = prompts(model, laws.LENGTHS)
    cache = DynamicCache()
    assert laws.new_tokens(model, ids, mask, **{CACHE: cache}) == laws.new_tokens(model, ids, mask)
    assert cache.get_seq_length() == ids.shape[1] + laws.STEPS - 1


def test_prefill_in_chunks(model: PreTrainedModel) -> None:
    ids, mask = prompts(model, laws.LENGTHS)
    assert laws.new_tokens(model, ids, mask, prefill_chunk_size=4) == laws.new_tokens(model, ids, mask)


def test_inputs_embeds(model: PreTrainedModel) -> None:
    ids, mask = prompts(model, laws.LENGTHS)
    embeds = model.get_input_embeddings()(ids)
    output = model.generate(inputs_embeds=embeds, attention_mask=mask, **(laws.PLAIN | laws.RULE))
    assert output.tolist() == laws.new_tokens(model, ids, mask)


def test_eos_ends_a_row_and_pads_it(model: PreTrainedModel) -> None:
    ids, mask = prompts(model, laws.LENGTHS)
    free = laws.new_tokens(model, ids, mask)
    eos = free[1][3]
    stopped = laws.new_tokens(model, ids, mask, eos_token_id=eos)
    for row, tokens in zip(free, stopped, strict=True):
        end = row.index(eos) + 1 if eos in row else len(row)
        assert tokens[:end] == row[:end]
        assert set(tokens[end:]) <= {0}


def test_processors_and_warpers_shape_the_candidates(model: PreTrainedModel) -> None:
    """top_p small enough leaves one candidate: greedy; without sampling as with a custom processor of the same kind."""
    ids, mask = prompts(model, laws.LENGTHS)
    greedy = laws.new_tokens(model, ids, mask, custom_generate=None, penalty_alpha=None, top_k=None)
    assert laws.new_tokens(model, ids, mask, top_p=1e-4) == greedy
    assert laws.new_tokens(model, ids, mask) != greedy
    by_hand = laws.new_tokens(model, ids, mask, logits_processor=[TopPLogitsWarper(0.7)])
    assert laws.new_tokens(model, ids, mask, top_p=0.7) == by_hand
    hot = laws.new_tokens(model, ids, mask, temperature=3.0)
    assert hot == laws.new_tokens(model, ids, mask, logits_processor=[lambda ids, scores: scores / 3.0])


def test_a_banned_token_is_never_taken_even_among_few_allowed(model: PreTrainedModel) -> None:
    ids, mask = prompts(model, laws.LENGTHS)

    def only_two(input_ids: Tensor, scores: Tensor) -> Tensor:
        kept = torch.full_like(scores, -torch.inf)
        kept[:, [7, 9]] = scores[:, [7, 9]]
        return kept

    tokens = laws.new_tokens(model, ids, mask, logits_processor=[only_two], penalty_alpha=1.0, top_k=5)
    assert {token for row in tokens for token in row} <= {7, 9}


def test_sampled_form(model: PreTrainedModel) -> None:
    ids, mask = prompts(model, (9,))
    sampled = {"do_sample": True, "top_p": None, "num_return_sequences": 6}
    torch.manual_seed(0)
    some = laws.new_tokens(model, ids, mask, score_temperature=0.5, **sampled)
    torch.manual_seed(0)
    assert laws.new_tokens(model, ids, mask, score_temperature=0.5, **sampled) == some
    assert len({tuple(row) for row in some}) > 1
    best = laws.new_tokens(model, ids, mask, score_temperature=0.0, **sampled)
    assert best == laws.new_tokens(model, ids, mask) * 6


def test_diverse_form_searches_on_from_sampled_beginnings(model: PreTrainedModel) -> None:
    ids, mask = prompts(model, (9,))
    torch.manual_seed(1)
    begun = laws.new_tokens(model, ids, mask, do_sample=True, sample_steps=3, score_temperature=0.0, num_return_sequences=4)
    assert len({tuple(row[:3]) for row in begun}) > 1
    for row in begun:
        start = torch.cat([ids, torch.tensor([row[:3]])], dim=1)
        assert row[3:] == laws.new_tokens(model, start, max_new_tokens=laws.STEPS - 3)[0]


def test_hidden_states_and_attentions_are_the_chosen_tokens() -> None:
    for name in ("llama", "mistral_sliding", "bloom"):
        model = FAMILY[name].build("eager")
        ids, mask = prompts(model, (7, 5))
        steps = 5
        output = model.generate(
            ids,
            attention_mask=mask,
            return_dict_in_generate=True,
            output_hidden_states=True,
            output_attentions=True,
            **(laws.PLAIN | laws.RULE | {"max_new_tokens": steps}),
        )
        full = torch.cat([mask, torch.ones(2, steps, dtype=mask.dtype)], dim=1)
        keywords: dict[str, Any] = {} if name == "bloom" else {"position_ids": (full.cumsum(-1) - 1).clamp(min=0)}
        forward = model(output.sequences, attention_mask=full, output_hidden_states=True, output_attentions=True, **keywords)
        for step in range(1, steps):
            at = ids.shape[1] + step - 1
            for layer, whole in zip(output.hidden_states[step], forward.hidden_states, strict=True):
                torch.testing.assert_close(layer[:, 0], whole[:, at], atol=1e-4, rtol=1e-4)
            for layer, whole in zip(output.attentions[step], forward.attentions, strict=True):
                columns = layer.shape[-1]
                torch.testing.assert_close(layer[:, :, 0], whole[:, :, at, at + 1 - columns : at + 1], atol=1e-4, rtol=1e-4)


def test_install_gives_plain_generate_back(model: PreTrainedModel) -> None:
    ids, mask = prompts(model, laws.LENGTHS)
    expected = laws.new_tokens(model, ids, mask)
    with pytest.raises(ValueError, match="trust_remote_code"):
        laws.new_tokens(model, ids, mask, custom_generate=None)
    install()
    install()
    try:
        assert laws.new_tokens(model, ids, mask, custom_generate=None) == expected
        laws.l4_streams(model, custom_generate=None)
    finally:
        uninstall()
    uninstall()
    with pytest.raises(ValueError, match="trust_remote_code"):
        laws.new_tokens(model, ids, mask, custom_generate=None)


def test_stop_strings(amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    inputs = tokenizer("It was the", return_tensors="pt")
    arguments = {**inputs, **laws.RULE, "do_sample": False, "max_new_tokens": 60}
    text = tokenizer.decode(amateur.generate(**arguments)[0], skip_special_tokens=True)
    stop = text[40:43]
    expected = text[: text.index(stop, len("It was the")) + len(stop)]
    criteria = [StopStringCriteria(tokenizer, [stop])]
    stopped = tokenizer.decode(amateur.generate(**arguments, stopping_criteria=criteria)[0], skip_special_tokens=True)
    assert stopped.startswith(expected)
    assert len(stopped) < len(text)
    install()
    try:
        plain = {name: value for name, value in arguments.items() if name != "custom_generate"}
        again = amateur.generate(**plain, stop_strings=[stop], tokenizer=tokenizer)
    finally:
        uninstall()
    assert tokenizer.decode(again[0], skip_special_tokens=True) == stopped


def test_pipeline(amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    generator = pipeline("text-generation", model=amateur, tokenizer=tokenizer)
    texts = ["It was the", "The captain said that he"]
    # named, since pipelines of transformers before 5.20 have a temperature of 0.7, which shapes p here
    arguments = {**laws.RULE, "do_sample": False, "temperature": 1.0, "max_new_tokens": 12}
    together = generator(texts, batch_size=2, **arguments)
    for text, found in zip(texts, together, strict=True):
        ids = amateur.generate(**tokenizer(text, return_tensors="pt"), **arguments)
        assert found[0]["generated_text"] == tokenizer.decode(ids[0], skip_special_tokens=True)


class IdentityQuantizedLayer(QuantisedLayer):
    """A quantised layer without loss, so that no quantisation package is needed."""

    def _quantize(self, tensor: Tensor, axis: int) -> Tensor:
        return tensor

    def _dequantize(self, q_tensor: Tensor) -> Tensor:
        return q_tensor


def quantized_cache() -> DynamicCache:
    cache = DynamicCache()
    cache.layers = [IdentityQuantizedLayer() for _ in range(LLAMA.build().config.num_hidden_layers)]
    cache.layer_class_to_replicate = None
    return cache


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_beams": 2}, "num_beams=2.*ContrastiveSearchLogitsProcessor"),
        ({"prompt_lookup_num_tokens": 2}, "prompt_lookup_num_tokens=2.*ContrastiveSearchLogitsProcessor"),
        ({"dola_layers": "high"}, "dola_layers='high' is another decoding method"),
        ({"cache_implementation": "static", "candidates": "expand"}, "candidates='expand' repeats rows"),
        ({CACHE: quantized_cache()}, "cannot drop candidates again"),
        ({"sample_steps": 2}, "sample_steps=2 without sampling"),
        ({"sample_steps": -1}, "sample_steps=-1 is not a number of tokens"),
        ({"do_sample": True, "score_temperature": -0.1}, "score_temperature=-0.1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_work_is_refused_by_name(model: PreTrainedModel, arguments: dict[str, Any], message: str) -> None:
    ids, mask = prompts(model, (6,))
    listener = laws.Listener()
    with pytest.raises(ValueError, match=message):
        laws.new_tokens(model, ids, mask, streamer=listener, **arguments)
    assert listener.tokens == ids[0].tolist() * arguments.get("num_beams", 1), "a token was generated before the refusal"


def test_an_assistant_is_refused_by_name(model: PreTrainedModel) -> None:
    ids, mask = prompts(model, (6,))
    with pytest.raises(ValueError, match=r"assistant_model=Qwen2ForCausalLM.*ContrastiveSearchLogitsProcessor"):
        laws.new_tokens(model, ids, mask, assistant_model=FAMILY["qwen2"].build())


def test_synced_gpus_keeps_stepping(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has finished goes on with forwards, and adds nothing, until all have."""
    peers = iter([True] * (laws.STEPS + 4) + [False])
    monkeypatch.setattr(type(model), "_has_unfinished_sequences", lambda self, finished, synced_gpus, device: next(peers))
    ids, mask = prompts(model, (6,))
    tokens = laws.new_tokens(model, ids, mask, synced_gpus=True)
    monkeypatch.undo()
    assert next(peers, None) is None
    assert tokens == laws.new_tokens(model, ids, mask)


def test_custom_generate_leaves_the_model_as_it_was(model: PreTrainedModel) -> None:
    before = model.config.to_dict(), model.config._attn_implementation, dict(model.lm_head._forward_pre_hooks)
    laws.new_tokens(model, *prompts(model, laws.LENGTHS))
    with pytest.raises(ValueError, match="top_k=0"):
        laws.new_tokens(model, *prompts(model, laws.LENGTHS), top_k=0)
    assert (model.config.to_dict(), model.config._attn_implementation, dict(model.lm_head._forward_pre_hooks)) == before
    assert contrastive_search.__name__ not in dir(GenerationMixin)
