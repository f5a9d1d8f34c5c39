"""Rankers from sentence-transformers: embeddings and logits by hand, prompts, what is cut, and a model that was trained."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

import sentence_models
from counterpoint.rankers import ConsensusRanker, CrossEncoderRanker, EmbeddingCosine, SentenceTransformerRanker
from ranker_laws import CANDIDATES, PREFIXES, prefixes_are_read_once, tokens_through
from sentence_models import ROOM, bi_encoder, cross_encoder

pytest.importorskip("sentence_transformers", reason="needs the extra sentence-transformers")
SHORT = ["The captain slept.", "My dear sister", "It rained."]
REAL_MODELS = Path.home() / ".cache" / "counterpoint-models"


def vector(text: str) -> Tensor:
    """The mean of the tiny model's last states, by transformers alone."""
    model, tokenizer = AutoModel.from_pretrained(sentence_models.folder()), AutoTokenizer.from_pretrained(sentence_models.folder())
    with torch.no_grad():
        states: Tensor = model.eval()(**tokenizer(text, return_tensors="pt", truncation=True)).last_hidden_state[0]
    return states.mean(dim=0)


@pytest.mark.parametrize(("similarity", "comparable"), [("cosine", True), ("dot", False), ("euclidean", True), ("manhattan", True)])
def test_similarities_by_hand(similarity: str, comparable: bool) -> None:
    ranker = SentenceTransformerRanker(bi_encoder(similarity))
    compare = {
        "cosine": lambda a, b: torch.cosine_similarity(a, b, dim=0),
        "dot": lambda a, b: a @ b,
        "euclidean": lambda a, b: -(a - b).square().sum().sqrt(),
        "manhattan": lambda a, b: -(a - b).abs().sum(),
    }[similarity]
    found = ranker.score(SHORT, CANDIDATES)
    for prefix, texts, scores in zip(SHORT, CANDIDATES, found, strict=True):
        expected = [float(compare(vector(prefix), vector(text))) for text in texts]
        assert scores.tolist() == pytest.approx(expected, abs=1e-3)
    assert ranker.comparable == comparable


def test_prompts_come_before_their_side() -> None:
    ranker = SentenceTransformerRanker(bi_encoder(), prefix_prompt="read: ", suffix_prompt="next: ")
    (scores,) = ranker.score(SHORT[:1], CANDIDATES[:1])
    own = vector("read: " + SHORT[0])
    expected = [float(torch.cosine_similarity(own, vector("next: " + text), dim=0)) for text in CANDIDATES[0]]
    assert scores.tolist() == pytest.approx(expected, abs=1e-4)


def test_prompts_of_the_model_are_the_default() -> None:
    library: Any = sys.modules["sentence_transformers"]
    prompts = {"query": "read: ", "document": "next: "}
    model = library.SentenceTransformer(
        str(sentence_models.folder()), device="cpu", prompts=prompts, default_prompt_name="document"
    )
    given = SentenceTransformerRanker(bi_encoder(), prefix_prompt="read: ", suffix_prompt="next: ")
    torch.testing.assert_close(SentenceTransformerRanker(model).score(SHORT, CANDIDATES), given.score(SHORT, CANDIDATES))
    without, plain = SentenceTransformerRanker(model, prefix_prompt="", suffix_prompt=""), SentenceTransformerRanker(bi_encoder())
    torch.testing.assert_close(without.score(SHORT, CANDIDATES), plain.score(SHORT, CANDIDATES))


@pytest.mark.parametrize("prompt", ["", "read: "])
def test_long_prefixes_keep_their_end_and_their_prompt(prompt: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(sentence_models.folder())
    ranker = SentenceTransformerRanker(bi_encoder(), prefix_prompt=prompt)
    long = PREFIXES[0]
    fitting = [long[start:] for start in range(len(long)) if len(tokenizer(prompt + long[start:])["input_ids"]) <= ROOM]
    assert len(fitting[0]) < len(long) / 2
    (found,), (expected,) = ranker.score([long], CANDIDATES[:1]), ranker.score(fitting[:1], CANDIDATES[:1])
    assert found.tolist() == expected.tolist()
    changed = ranker.score(["A mouse" + long[7:]], CANDIDATES[:1])[0]
    assert changed.tolist() == found.tolist()
    assert ranker.score([long + " Well"], CANDIDATES[:1])[0].tolist() != found.tolist()


def test_long_continuations_keep_their_beginning() -> None:
    text = " " + PREFIXES[1]
    (found,) = SentenceTransformerRanker(bi_encoder()).score(SHORT[:1], [[text, text + " More.", "X" + text[1:]]])
    assert found[0] == pytest.approx(float(torch.cosine_similarity(vector(SHORT[0]), vector(text), dim=0)), abs=1e-4)
    assert found[1] == pytest.approx(float(found[0]), abs=1e-5)  # read in a batch with other texts
    assert abs(found[2] - found[0]) > 1e-4


def logit(prefix: str, text: str) -> float:
    """What the tiny cross-encoder gives a pair, by transformers alone."""
    place = sentence_models.folder(labels=1)
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(place), AutoTokenizer.from_pretrained(place)
    with torch.no_grad():
        return float(model.eval()(**tokenizer(prefix, text, return_tensors="pt")).logits[0, 0])


def test_logits_by_hand() -> None:
    found = CrossEncoderRanker(cross_encoder()).score(SHORT, CANDIDATES)
    for prefix, texts, scores in zip(SHORT, CANDIDATES, found, strict=True):
        assert scores.tolist() == pytest.approx([logit(prefix, text) for text in texts], abs=1e-4)
    assert max(abs(float(value)) for scores in found for value in scores) > 1  # no probabilities
    (prompted,) = CrossEncoderRanker(cross_encoder(), prompt="read: ").score(SHORT[:1], [[" Why?"]])
    assert prompted.tolist() == pytest.approx([logit("read: " + SHORT[0], " Why?")], abs=1e-4)


def test_a_pair_keeps_the_end_of_a_long_prefix() -> None:
    ranker, text = CrossEncoderRanker(cross_encoder()), " The captain said nothing."
    (found,) = ranker.score([PREFIXES[0]], [[text]])
    assert ranker.score(["A mouse" + PREFIXES[0][7:]], [[text]])[0].tolist() == found.tolist()
    assert ranker.score([PREFIXES[0] + " Well"], [[text]])[0].tolist() != found.tolist()
    tokenizer = AutoTokenizer.from_pretrained(sentence_models.folder())
    kept = ranker.kept(PREFIXES[0], text)
    assert PREFIXES[0].endswith(kept)
    assert ROOM - 3 <= len(tokenizer(kept, text)["input_ids"]) <= ROOM
    assert len(tokenizer(ranker.kept(PREFIXES[0], " " + PREFIXES[1]))["input_ids"]) == ROOM // 2  # both are long


def test_cross_encoders_read_all_pairs_again() -> None:
    ranker = CrossEncoderRanker(cross_encoder())
    with pytest.raises(AssertionError):
        prefixes_are_read_once(ranker, lambda _: tokens_through(ranker.model[0].auto_model.bert.embeddings))


def test_several_labels_are_refused() -> None:
    library: Any = sys.modules["sentence_transformers"]
    model = library.CrossEncoder(str(sentence_models.folder(labels=3)), device="cpu")
    with pytest.raises(ValueError, match="model has 3 labels; a ranker needs one"):
        CrossEncoderRanker(model)


def test_consensus_of_embeddings_by_hand() -> None:
    encoder = SentenceTransformerRanker(bi_encoder("dot"), suffix_prompt="next: ")
    found = ConsensusRanker(utility=EmbeddingCosine(encoder)).score(SHORT, [CANDIDATES[0], [], [" No."]])
    vectors = [vector("next: " + text) for text in CANDIDATES[0]]
    expected = [
        sum(float(torch.cosine_similarity(one, other, dim=0)) for other in vectors if other is not one) / (len(vectors) - 1)
        for one in vectors
    ]
    assert found[0].tolist() == pytest.approx(expected, abs=1e-4)
    assert [own.tolist() for own in found[1:]] == [[], [0.0]]


def test_loaded_by_name() -> None:
    loaded = SentenceTransformerRanker(str(sentence_models.folder()), device="cpu", similarity_fn_name="dot")
    same = SentenceTransformerRanker(bi_encoder("dot"))
    torch.testing.assert_close(loaded.score(SHORT, CANDIDATES), same.score(SHORT, CANDIDATES))
    pairs = CrossEncoderRanker(str(sentence_models.folder(labels=1)), device="cpu")
    torch.testing.assert_close(pairs.score(SHORT, CANDIDATES), CrossEncoderRanker(cross_encoder()).score(SHORT, CANDIDATES))


def test_options_of_loading_are_refused_for_a_loaded_model() -> None:
    with pytest.raises(TypeError, match="device: options of loading, and model is loaded already"):
        SentenceTransformerRanker(bi_encoder(), device="cpu")
    with pytest.raises(TypeError, match="trust_remote_code: options of loading, and model is loaded already"):
        CrossEncoderRanker(cross_encoder(), trust_remote_code=False)


def test_code_in_a_folder_does_not_run_unasked(tmp_path: Path) -> None:
    place = tmp_path / "model"
    shutil.copytree(sentence_models.folder(), place)
    (place / "evil.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    (place / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": "evil.Evil"}]))
    with pytest.raises(ValueError, match="trust_remote_code"):
        SentenceTransformerRanker(str(place))
    assert not (tmp_path / "ran").exists()


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    for ranker in (SentenceTransformerRanker, CrossEncoderRanker):
        with pytest.raises(ImportError, match=r"pip install counterpoint\[sentence-transformers\]"):
            ranker("all-MiniLM-L6-v2")


def test_a_trained_model(shared: Path) -> None:
    folder = REAL_MODELS / "all-minilm-l6-v2"
    if not folder.exists():
        pytest.skip("needs all-minilm-l6-v2: run get_models.py of the shared folder")
    ranker = SentenceTransformerRanker(str(folder), device="cpu")
    same_subject = [[" The ship had lost its mast.", " The cake was too sweet."], [" Flour and sugar.", " An admiral."]]
    prefixes = ["The captain looked at the sea and at the sails.", "She baked bread in the kitchen."]
    found = ranker.score(prefixes, same_subject)
    assert [int(scores.argmax()) for scores in found] == [0, 0]
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        one, other = (
            model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0)
            for text in (prefixes[0], same_subject[0][0])
        )
    assert float(found[0][0]) == pytest.approx(float(torch.cosine_similarity(one, other, dim=0)), abs=1e-5)


def test_a_bi_encoder_is_no_cross_encoder(tmp_path: Path) -> None:
    """Its folder loads, with a layer of random weights."""
    AutoModel.from_pretrained(sentence_models.folder()).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(sentence_models.folder()).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"Model, not a cross-encoder: .* random weights"):
        CrossEncoderRanker(str(tmp_path))
