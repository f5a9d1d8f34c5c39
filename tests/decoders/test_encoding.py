"""A text means the same everywhere: tokens of prompts and continuations, whatever tokenizer and whoever asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
    T5ForConditionalGeneration,
)

from counterpoint.decoders import score
from counterpoint.decoders.choosing.builders import prompt_batch
from counterpoint.decoders.forwards.encoding import encode_pair, encode_prompt
from counterpoint.eval import likelihood_coherence_of_each, log_probabilities, perplexity
from counterpoint.eval.bench.passages import Pairs, encode_passages
from counterpoint.eval.generation import encode as encode_for_generation
from counterpoint.eval.loading import Loaded
from counterpoint.eval.training import answers
from counterpoint.eval.training.wrong_answers import Pair
from counterpoint.rankers import LikelihoodRanker
from small_tokenizers import EOS, KINDS, Kind

PROMPT = "The captain of the"
PAIRS = [
    (PROMPT, " ship rose"),
    (PROMPT, "y said"),
    ("The captain of the ", "ship"),
    ("The w", "hale rose"),
    ("The captains", "hip"),
]
"""The continuation begins with a word, within one, after the prompt's space, and within one that is a token."""


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def ids_of(tokenizer: Any, text: str) -> list[int]:
    """The text's own tokens, from the backend itself."""
    return list(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)


def whole(kind: Kind, tokenizer: Any, text: str) -> list[int]:
    """What a model is to read of a text that goes on."""
    return [*tokenizer.convert_tokens_to_ids(list(kind.before)), *ids_of(tokenizer, text)]


def expected(kind: Kind, tokenizer: Any, prompt: str, continuation: str) -> tuple[list[int], list[int]]:
    """Prompt and continuation, cut before the first token that is not the prompt's."""
    before, both = whole(kind, tokenizer, prompt), whole(kind, tokenizer, prompt + continuation)
    cut = 0
    while cut < len(before) and before[cut] == both[cut]:
        cut += 1
    return (both[:cut], both[cut:]) if cut else (before, ids_of(tokenizer, continuation))


def test_a_prompt_begins_once_and_does_not_end(kind: Kind) -> None:
    tokenizer = kind.tokenizer
    assert tokenizer(PROMPT)["input_ids"] == [*whole(kind, tokenizer, PROMPT), *tokenizer.convert_tokens_to_ids(list(kind.after))]
    assert encode_prompt(tokenizer, PROMPT) == whole(kind, tokenizer, PROMPT)
    assert encode_prompt(tokenizer, "") == whole(kind, tokenizer, "")


def test_a_begin_of_text_that_is_written_counts_as_the_tokenizers_own(kind: Kind) -> None:
    tokenizer: Any = kind.tokenizer
    begin = tokenizer.bos_token
    for written in (f"{begin}{PROMPT}", f"{begin}{begin}{PROMPT}", f"\n{begin}{PROMPT}", begin):
        ids = encode_prompt(tokenizer, written)
        if kind.before:
            assert ids.count(tokenizer.bos_token_id) == 1
        else:
            assert ids == ids_of(tokenizer, written)
    if kind.before:
        assert encode_prompt(tokenizer, f"{begin}{PROMPT}") == encode_prompt(tokenizer, PROMPT)
        assert encode_pair(tokenizer, f"{begin}{PROMPT}", " ship") == encode_pair(tokenizer, PROMPT, " ship")


def test_a_chat_template_brings_all_special_tokens(kind: Kind) -> None:
    tokenizer: Any = kind.tokenizer
    for template in ("{{ bos_token }}%s{{ eos_token }}A:", "%s\nA:", "\n{{ bos_token }}%s\n"):
        tokenizer.chat_template = template % "{{ messages[0]['content'] }}"
        messages = [{"role": "user", "content": PROMPT}]
        ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        assert encode_prompt(tokenizer, text, from_template=True) == ids
        before, after = encode_pair(tokenizer, text, " ship", from_template=True)
        assert [*before, *after] == ids_of(tokenizer, text + " ship")


def test_continuations_are_tokenised_with_their_prompts(kind: Kind) -> None:
    tokenizer = kind.tokenizer
    for prompt, continuation in PAIRS:
        before, after = encode_pair(tokenizer, prompt, continuation)
        assert (list(before), list(after)) == expected(kind, tokenizer, prompt, continuation)
        assert before
        decoded = tokenizer.decode([*before, *after], skip_special_tokens=True)
        assert decoded == tokenizer.decode(ids_of(tokenizer, prompt + continuation))
    assert encode_pair(tokenizer, PROMPT, "") == (tuple(whole(kind, tokenizer, PROMPT)), ())


def test_a_prompt_within_one_token_is_read_as_it_is() -> None:
    """Where nothing comes before it."""
    tokenizer: Any = KINDS[0].tokenizer
    assert len(ids_of(tokenizer, "The")) == 1
    prompt, continuation = "T", "he"
    assert encode_pair(tokenizer, prompt, continuation) == (
        tuple(ids_of(tokenizer, prompt)),
        tuple(ids_of(tokenizer, continuation)),
    )


def model_of(tokenizer: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.5, **sizes)).eval()


def plain(model: Any, prompt: Sequence[int], continuation: Sequence[int]) -> float:
    """The log-probability of all tokens of the continuation, from one forward."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *continuation]])).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(prompt) - 1 + place, token]) for place, token in enumerate(continuation))


Total = Callable[[Any, Any, str, str], float]
TOTALS: dict[str, Total] = {
    "score": lambda model, tokenizer, prompt, text: score(model, tokenizer, [prompt], [[text]])[0][0].total,
    "likelihood ranker": lambda model, tokenizer, prompt, text: float(
        LikelihoodRanker(model, tokenizer, form="log_likelihood").score([prompt], [[text]])[0]
    ),
    "log_probabilities": lambda model, tokenizer, prompt, text: sum(log_probabilities(model, tokenizer, [prompt], [text])[0]),
    "perplexity": lambda model, tokenizer, prompt, text: (
        -len(encode_pair(tokenizer, prompt, text)[1]) * math.log(perplexity(model, tokenizer, [prompt], [text]))
    ),
    "likelihood coherence": lambda model, tokenizer, prompt, text: (
        len(encode_pair(tokenizer, prompt, text)[1]) * likelihood_coherence_of_each(model, tokenizer, [prompt], [text])[0]
    ),
}


@pytest.mark.parametrize("name", TOTALS)
def test_whoever_scores_scores_the_same(kind: Kind, name: str) -> None:
    tokenizer = kind.tokenizer
    model = model_of(tokenizer)
    for prompt, continuation in PAIRS:
        right = plain(model, *expected(kind, tokenizer, prompt, continuation))
        for written in (prompt, f"{kind.before[0]}{prompt}") if kind.before else (prompt,):
            assert TOTALS[name](model, tokenizer, written, continuation) == pytest.approx(right, abs=1e-3)


def test_texts_that_follow_nothing(kind: Kind) -> None:
    """The first token is predicted only after a begin of text, and the end that a tokenizer appends never."""
    tokenizer = kind.tokenizer
    model = model_of(tokenizer)
    ids = whole(kind, tokenizer, PROMPT)
    right = plain(model, ids[:1], ids[1:])
    assert sum(log_probabilities(model, tokenizer, None, [PROMPT])[0]) == pytest.approx(right, abs=1e-3)


def test_whoever_generates_reads_the_same(kind: Kind) -> None:
    tokenizer = kind.tokenizer
    loaded = Loaded("tiny", model_of(tokenizer), tokenizer)
    ids = whole(kind, tokenizer, PROMPT)
    assert encode_for_generation(loaded, PROMPT, 4) == ids
    (passage,) = encode_passages(loaded, Pairs("here", [(PROMPT, " ship")]), None, None, 4)
    assert list(passage.ids) == ids
    (cut,) = encode_passages(loaded, Pairs("here", [(PROMPT, " high wall, high sea")]), None, 3, 2)
    assert list(cut.ids) == whole(kind, tokenizer, f"{PROMPT} high wall, high sea")[:3]
    batch = prompt_batch(loaded.model, tokenizer, [PROMPT, "The captain of the ship"])
    assert batch["input_ids"][0, batch["attention_mask"][0].bool()].tolist() == ids


def test_answers_are_learned_as_they_are_scored(kind: Kind) -> None:
    tokenizer = kind.tokenizer
    row = answers.encode(tokenizer, Pair("The ship", "The whale"), chat_template=False)
    before, after = expected(kind, tokenizer, "Q: The ship\nA:", " The whale")
    assert (row.ids[: row.start], row.ids[row.start :]) == (before, after)


def test_an_encoder_reads_whole_texts() -> None:
    """With the end that its tokenizer appends, once; what the decoder writes has none."""
    kind = next(each for each in KINDS if each.name == "unigram eos")
    tokenizer: PreTrainedTokenizerBase = kind.tokenizer
    right = [*ids_of(tokenizer, PROMPT), tokenizer.eos_token_id]
    for written in (PROMPT, f"{PROMPT}{EOS}"):
        before, after = encode_pair(tokenizer, written, "ship", is_encoder_decoder=True)
        assert list(before) == right
        assert list(after) == ids_of(tokenizer, "ship")
    sizes = dict(d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0)
    model: Any = T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), **sizes)).eval()
    with torch.no_grad():
        inputs = {"input_ids": torch.tensor([right]), "decoder_input_ids": torch.tensor([[0, *after[:-1]]])}
        logits = model(**inputs).logits[0].double().log_softmax(-1)
    total = sum(float(logits[place, token]) for place, token in enumerate(after))
    assert score(model, tokenizer, [PROMPT], [["ship"]])[0][0].total == pytest.approx(total, abs=1e-3)


@pytest.mark.parametrize("pad", [0, 2], ids=["of its own", "the end"])
@pytest.mark.parametrize("ends", [2, [2, 5]], ids=["one end", "two"])
def test_padding_is_not_scored(pad: int, ends: Any) -> None:
    """Rows of ``generate`` after their prompt; a token that pads elsewhere is a token before the end."""
    model: Any = model_of(KINDS[0].tokenizer)
    model.generation_config.update(eos_token_id=ends, pad_token_id=pad)
    for row, right in (
        ([7, 8, 2, pad, pad], [7, 8, 2]),
        ([7, 5, pad, pad], [7, 5] if ends != 2 else [7, 5, *([2] if pad == 2 else [0, 0])]),
        ([7, pad, 8], [7, pad, 8]),
        ([2, 7, 2, pad], [2, 7, 2, pad]),
    ):
        ((found,),) = score(model, None, [[4, 9]], [[row]])
        assert list(found.tokens) == right
        assert found.total == pytest.approx(plain(model, [4, 9], right), abs=1e-3)


def test_half_a_character_is_refused_by_name(kind: Kind) -> None:
    tokenizer = kind.tokenizer
    for prompt, text in ((PROMPT, " \ud83d"), ("The \ud83d", " ship")):
        with pytest.raises(ValueError, match="holds half of a character"):
            score(model_of(tokenizer), tokenizer, [prompt], [[text]])


def test_an_end_within_a_text_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The law finds a tokenizer's own way."""
    kind = next(each for each in KINDS if each.name == "bytes bos eos")
    encoding = "counterpoint.decoders.forwards.encoding"
    monkeypatch.setattr(f"{encoding}.frame", lambda tokenizer, text: ([], []))
    monkeypatch.setattr(f"{encoding}.tokens_of", lambda tokenizer, text: tokenizer(text)["input_ids"])
    with pytest.raises(AssertionError):
        test_a_prompt_begins_once_and_does_not_end(kind)
    with pytest.raises(AssertionError):
        test_whoever_scores_scores_the_same(kind, "score")
