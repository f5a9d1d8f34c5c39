"""RankGen's scores from scratch; what is read of long texts; what is refused. Its laws are in ``test_rankers.py``."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase, T5Tokenizer

from counterpoint.eval import AMATEUR
from counterpoint.rankers import SMALL, RankGenEncoder, RankGenRanker
from counterpoint.rankers.bi_encoder import Side
from counterpoint.rankers.rankgen import rankgen
from ranker_laws import CANDIDATES, PREFIXES, same
from rankgen_cases import published_state_dict, reference_vector, tiny_config, tiny_encoder, tiny_tokenizer

TEXTS = st.lists(st.sampled_from(["the", "sea", "captain", "Zq", "his", "letter.", "nothing"]), min_size=1, max_size=12).map(
    " ".join
)


def ranker(**arguments: Any) -> RankGenRanker:
    return RankGenRanker(tiny_encoder(), tiny_tokenizer(), **arguments)


def reference_scores(prefixes: list[str], candidates: list[list[str]]) -> list[Tensor]:
    """<W h_1("pre " + prefix), W h_1("suffi " + candidate)>, each text by itself."""
    config, tokenizer = tiny_config(), tiny_tokenizer()
    state_dict = published_state_dict(config)

    def vector(text: str) -> Tensor:
        return reference_vector(config, state_dict, tokenizer(text)["input_ids"])

    return [
        torch.stack([vector("pre " + prefix) @ vector("suffi " + text) for text in texts])
        for prefix, texts in zip(prefixes, candidates, strict=True)
    ]


def test_scores_from_scratch() -> None:
    same(ranker(batch_size=2).score(PREFIXES, CANDIDATES), reference_scores(PREFIXES, CANDIDATES))


@settings(max_examples=15)
@given(prefix=TEXTS, candidates=st.lists(TEXTS, min_size=1, max_size=6), batch_size=st.integers(1, 4))
def test_scores_of_any_texts_in_any_batches(prefix: str, candidates: list[str], batch_size: int) -> None:
    same(ranker(batch_size=batch_size).score([prefix], [candidates]), reference_scores([prefix], [candidates]))


def unmasked(encoder: RankGenEncoder) -> Any:
    """The encoder's forward, without its attention mask."""
    forward = encoder.forward
    return lambda input_ids, attention_mask: forward(input_ids, torch.ones_like(attention_mask))


def test_broken_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding that is seen, vectors left in the order of their lengths, another marker: each gives other scores."""
    expected = reference_scores(PREFIXES, CANDIDATES)
    with monkeypatch.context() as patch:
        patch.setattr(tiny_encoder(), "forward", unmasked(tiny_encoder()))
        with pytest.raises(AssertionError):
            same(ranker().score(PREFIXES, CANDIDATES), expected)
    with monkeypatch.context() as patch:
        patch.setattr(Tensor, "argsort", lambda order: torch.arange(len(order)))
        with pytest.raises(AssertionError):
            same(ranker().score(PREFIXES, CANDIDATES), expected)
    with monkeypatch.context() as patch:
        patch.setitem(rankgen.MARKERS, "suffix", "pre ")
        with pytest.raises(AssertionError):
            same(ranker().score(PREFIXES, CANDIDATES), expected)
    same(ranker().score(PREFIXES, CANDIDATES), expected)


def test_prefixes_are_encoded_once_and_texts_in_batches_of_like_length() -> None:
    judged, shapes = ranker(batch_size=2), list[tuple[int, ...]]()
    handle = judged.encoder.register_forward_pre_hook(
        lambda _, __, inputs: shapes.append(tuple(inputs["input_ids"].shape)), with_kwargs=True
    )
    try:
        scorer = judged.scorer([PREFIXES[0], PREFIXES[2], PREFIXES[0]])
        assert len(shapes) == 1  # two distinct prefixes
        shapes.clear()
        long, short = " the sea" * 20, " a"
        scorer([[long, short], [short, " of the sea"], [long]])
    finally:
        handle.remove()
    lengths = [len(judged.tokens(text, "suffix")) for text in (short, " of the sea", long)]
    assert shapes == [(2, lengths[1]), (1, lengths[2])]


@pytest.mark.parametrize("truncation", ["nearest", "released"])
def test_long_texts(truncation: str) -> None:
    """Of a prefix the end, or as released the beginning; of a continuation the beginning. The marker is there in any case."""
    judged, tokenizer = ranker(truncation=truncation), tiny_tokenizer()
    words = " ".join(["the sea"] * 300 + ["captain"] * 3)
    tokens = tokenizer(words)["input_ids"]
    pre, suffi, end = tokenizer.convert_tokens_to_ids(["▁pre", "▁suffi", "</s>"])
    assert judged.tokens(words, "suffix") == [suffi, *tokens[:127]]
    kept = tokens[-511:] if truncation == "nearest" else tokens[:511]
    assert judged.tokens(words, "prefix") == [pre, *kept]
    assert (end in judged.tokens(words, "prefix")) == (truncation == "nearest")
    fits = " ".join(["sea"] * 510)
    assert judged.tokens(fits, "prefix") == [pre, *tokenizer(fits)["input_ids"]]


def test_what_is_cut_off_does_not_matter() -> None:
    tail, other = "the ship " * 300, "nothing " * 50
    near, released = ranker(), ranker(truncation="released")
    same(near.score([other + tail, "his " * 50 + tail], [[" a"], [" a"]])[:1], near.score(["his " * 50 + tail], [[" a"]]))
    assert float(near.score([tail + other], [[" a"]])[0]) != float(near.score([tail + "his"], [[" a"]])[0])
    same(released.score([tail + other], [[" a"]]), released.score([tail + "his"], [[" a"]]))


def test_training_leaves_no_trace() -> None:
    """Dropout is off, whatever the encoder was doing."""
    encoder = RankGenEncoder(tiny_config(dropout_rate=0.5)).train()
    judged = RankGenRanker(encoder, tiny_tokenizer())
    first, second = (judged.score(PREFIXES, CANDIDATES) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_configuration_is_not_changed() -> None:
    config = tiny_config()
    before = config.to_dict()
    RankGenEncoder(config)
    assert config.to_dict() == before


def test_scores_do_not_compare_across_prefixes() -> None:
    """Twice the prefix's vector is twice all scores, with the same order."""
    ranker = RankGenRanker.from_pretrained(SMALL)
    prefix, *suffixes = ranker.vectors(["The whale rose.", " It sank.", " She wept."], "suffix")
    torch.testing.assert_close(
        ranker.similarity(2 * prefix, torch.stack(suffixes)), 2 * ranker.similarity(prefix, torch.stack(suffixes))
    )
    assert not ranker.comparable


def test_lower_precision_is_close() -> None:
    config = tiny_config()
    encoder = RankGenEncoder(config)
    encoder.load_state_dict(published_state_dict(config))
    found = RankGenRanker(encoder.to(torch.bfloat16), tiny_tokenizer()).score(PREFIXES, CANDIDATES)
    for one, other in zip(found, reference_scores(PREFIXES, CANDIDATES), strict=True):
        torch.testing.assert_close(one, other, atol=1.5, rtol=0.1)
        assert one.dtype == torch.float32


@pytest.mark.parametrize("side", ["prefix", "suffix"])
def test_float16_overflow_is_named(side: Side) -> None:
    config = tiny_config()
    encoder = RankGenEncoder(config)
    state_dict = published_state_dict(config)
    encoder.load_state_dict({**state_dict, "projection.weight": state_dict["projection.weight"].sign() * 6e4})
    assert all(math.isfinite(one) for one in RankGenRanker(encoder, tiny_tokenizer()).score(["the sea"], [[" a"]])[0].tolist())
    half = RankGenRanker(encoder.half(), tiny_tokenizer())
    with pytest.raises(ValueError, match=rf"{side} 'the sea' has a vector that is not finite in torch.float16; .* torch.bfloat16"):
        half.embed(["the sea"], side)


def other_tokenizer(vocabulary: list[str], **special: Any) -> PreTrainedTokenizerBase:
    return T5Tokenizer([(piece, 0.0) for piece in vocabulary], extra_ids=0, **special)


def test_another_models_tokenizer_is_refused() -> None:
    special, markers = ["<pad>", "</s>", "<unk>"], ["▁pre", "▁suffi"]
    other_tokenizer([*special, *markers])
    RankGenRanker(tiny_encoder(), other_tokenizer([*special, *markers]))
    for tokenizer, message in (
        (AutoTokenizer.from_pretrained(AMATEUR), r"tokenizer has \d+ tokens and the encoder 96; pass the one of T5 1.1, google/t5"),
        (other_tokenizer(["</s>", "<pad>", "<unk>", *markers]), "tokenizer has pad_token_id=1 and the encoder 0; pass"),
        (other_tokenizer([*special, "▁pre"]), r"reads the marker 'suffi ' as \['<unk>', '</s>'\], not as tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            RankGenRanker(tiny_encoder(), tokenizer)
    endless = other_tokenizer([*special, *markers])
    endless._tokenizer.post_processor = None
    with pytest.raises(ValueError, match=r"reads the marker 'pre ' as \['▁pre'\], not as tokens and an end of text"):
        RankGenRanker(tiny_encoder(), endless)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"truncation": "end"}, "truncation='end': choose one of nearest, released"),
        ({"batch_size": 0}, "batch_size=0: take 1 text or more"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ranker(**arguments)
