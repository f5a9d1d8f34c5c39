"""What rankers read is the text that the tokens are, wherever prompt and continuation meet."""

from __future__ import annotations

from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from counterpoint.eval import EXPERT
from counterpoint.rankers.continuation_texts import CONTEXT, continuation_text, prompt_texts

TOKENIZER = AutoTokenizer.from_pretrained(EXPERT)


def parts(tokenizer: PreTrainedTokenizerBase, ids: list[int], cut: int) -> tuple[str, str]:
    return prompt_texts(tokenizer, torch.tensor([ids[:cut]]))[0], continuation_text(tokenizer, ids[:cut], ids[cut:])


@given(text=st.text(min_size=1, max_size=2 * CONTEXT), cut=st.integers(1, 4 * CONTEXT))
def test_both_are_the_whole_text_wherever_it_is_cut(text: str, cut: int) -> None:
    """Within a word, or within a character."""
    ids = TOKENIZER(text).input_ids
    prompt, continuation = parts(TOKENIZER, ids, min(cut, len(ids)))
    assert prompt + continuation == text or (continuation == "" and text.startswith(prompt))


def test_decoding_both_apart_is_found_to_lose_a_character() -> None:
    ids = TOKENIZER("The sea \N{WATER WAVE} rose").input_ids
    decode = TOKENIZER.decode
    lost = [cut for cut in range(1, len(ids)) if decode(ids[:cut]) + decode(ids)[len(decode(ids[:cut])) :] != decode(ids)]
    kept = [cut for cut in range(1, len(ids)) if "".join(parts(TOKENIZER, ids, cut)) == decode(ids)]
    assert len(lost) > 1
    assert kept == list(range(1, len(ids)))


def test_special_tokens_and_padding_are_no_text() -> None:
    ids = TOKENIZER(["A whale", "The old whale rose"], padding=True, padding_side="left", return_tensors="pt")
    assert prompt_texts(TOKENIZER, ids.input_ids, ids.attention_mask) == ["A whale", "The old whale rose"]
    row = ids.input_ids[0].tolist()
    end = TOKENIZER.eos_token_id
    assert continuation_text(TOKENIZER, row, [end]) == ""
    assert continuation_text(TOKENIZER, row, [*TOKENIZER(" rose").input_ids, end]) == " rose"


def test_a_tokenizer_that_drops_the_first_space(shared: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(shared / "models" / "stories260K")
    ids = tokenizer("Once upon a time there was a girl").input_ids
    for cut in range(1, len(ids)):
        prompt, continuation = parts(tokenizer, ids, cut)
        assert prompt + continuation == "Once upon a time there was a girl"


def test_a_cut_character_is_not_read() -> None:
    """Whatever bytes of it are there: only the whole one is text."""
    prompt, whole = TOKENIZER("The sea").input_ids, TOKENIZER(" rose \N{WATER WAVE}").input_ids
    texts = [continuation_text(TOKENIZER, prompt, whole[:cut]) for cut in range(1, len(whole) + 1)]
    assert texts[-1] == " rose \N{WATER WAVE}"
    assert not any("\N{REPLACEMENT CHARACTER}" in text for text in texts)
    assert " rose " in texts[:-1]
