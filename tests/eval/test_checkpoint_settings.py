"""What a checkpoint needs is kept by the commands, and what merely samples is dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, LlamaForCausalLM

from counterpoint.eval.bench.generation import continue_batch
from counterpoint.eval.bench.passages import Pairs, encode_passages
from counterpoint.eval.choosing import parse_decoder
from counterpoint.eval.generation import encode, generate
from counterpoint.eval.loading import Loaded, load
from small_tokenizers import KINDS

PROMPT = "The captain of the"
SAMPLING = dict(
    do_sample=True, temperature=9.0, top_k=3, top_p=0.5, min_p=0.1, typical_p=0.5, epsilon_cutoff=0.1, eta_cutoff=0.1, num_beams=2
)
SAID_BY_DECODERS = dict(repetition_penalty=3.0, no_repeat_ngram_size=1, min_new_tokens=9, max_length=3, penalty_alpha=0.6)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Writes a tiny model with generation settings of its own."""
    tokenizer: Any = KINDS[1].tokenizer
    torch.manual_seed(0)
    sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.5, **sizes))

    def write(**settings: Any) -> str:
        folder = tmp_path_factory.mktemp("checkpoint")
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
        ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        config = GenerationConfig(**{**ends, **settings})
        (folder / "generation_config.json").write_text(config.to_json_string(), encoding="utf-8")
        return str(folder)

    return write


def of_transformers(folder: str, prompt: list[int], tokens: int = 12) -> list[int]:
    """What ``generate`` of the saved checkpoint writes."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    found: list[int] = model.generate(torch.tensor([prompt]), max_new_tokens=tokens, do_sample=False)[0, len(prompt) :].tolist()
    return found


def needs(free: list[int]) -> dict[str, dict[str, Any]]:
    """Settings that change what greedy search writes, of which the tokens of a model without them are known."""
    return {
        "suppress_tokens": {"suppress_tokens": free[:2]},
        "begin_suppress_tokens": {"begin_suppress_tokens": free[:1]},
        "forced_bos_token_id": {"forced_bos_token_id": 50},
        "forced_eos_token_id": {"forced_eos_token_id": 51},
        "bad_words_ids": {"bad_words_ids": [free[:1], free[1:3]]},
        "sequence_bias": {"sequence_bias": [[free[:1], -50.0]]},
        "several ends": {"eos_token_id": [2, free[3]]},
    }


@pytest.mark.parametrize("name", needs([0, 0, 0, 0]))
def test_what_a_checkpoint_needs(checkpoint: Callable[..., str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = encode(load(checkpoint(), "cpu", "auto", False), PROMPT, 12)
    settings = needs(of_transformers(checkpoint(), prompt))[name]
    right = of_transformers(checkpoint(**settings), prompt)
    if name != "forced_bos_token_id":  # heeded by generate where a decoder's text has one token
        assert right != of_transformers(checkpoint(), prompt)
    loaded = load(checkpoint(**settings, **SAMPLING, **SAID_BY_DECODERS), "cpu", "auto", False)
    assert generated(loaded, prompt, monkeypatch) == right
    for key, value in settings.items():
        assert getattr(loaded.model.generation_config, key) == value
    passages = encode_passages(loaded, Pairs("here", [(PROMPT, None)]), None, None, 12)
    (row,) = continue_batch(loaded, parse_decoder("greedy"), passages, 0, 12)
    assert row.tokens == len(right)


def generated(loaded: Loaded, prompt: list[int], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens that the command ``generate`` turns into text."""
    seen: list[list[int]] = []
    monkeypatch.setattr(
        "counterpoint.eval.generation.continuation_text", lambda _, prompt, new, **options: seen.append(list(new)) or ""
    )
    generate(loaded, prompt, 12, 0, parse_decoder("greedy"), lambda _: None)
    return seen[-1]


def test_what_merely_samples(checkpoint: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load(checkpoint(**SAMPLING, **SAID_BY_DECODERS), "cpu", "auto", False)
    prompt = encode(loaded, PROMPT, 12)
    assert generated(loaded, prompt, monkeypatch) == of_transformers(checkpoint(), prompt)
    for name in (*SAMPLING, *SAID_BY_DECODERS):
        assert getattr(loaded.model.generation_config, name, None) == getattr(GenerationConfig(), name, None)


def test_what_transformers_has_no_name_for(checkpoint: Callable[..., str]) -> None:
    kept: Any = load(checkpoint(language_ids={"en": 7}), "cpu", "auto", False).model.generation_config
    assert kept.language_ids == {"en": 7}
