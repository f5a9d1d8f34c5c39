"""Features for MAUVE: those of mauve-text, those of each text alone, whatever is read together."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaModel,
    MambaConfig,
    MambaModel,
    MistralConfig,
    MistralModel,
    PreTrainedModel,
    T5Config,
    T5Model,
)

from counterpoint.eval import EXPERT
from counterpoint.eval.metrics import mauve_features
from counterpoint.eval.metrics.mauve_features import LoadedFeaturizer, batches, load_featurizer

SMALL = dict(vocab_size=8192, hidden_size=32, num_hidden_layers=2)
HEADS = dict(num_attention_heads=2, intermediate_size=64, max_position_embeddings=128)
MODELS = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=8192, n_embd=32, n_layer=2, n_head=2, n_positions=128)),
    "llama-gpt2": lambda: LlamaModel(LlamaConfig(**SMALL, **HEADS)),
    "bert": lambda: BertModel(BertConfig(**SMALL, **HEADS)),
    "mistral": lambda: MistralModel(MistralConfig(**SMALL, **HEADS, num_key_value_heads=2, sliding_window=5)),
    "mamba": lambda: MambaModel(MambaConfig(**SMALL, state_size=4)),
}
READ_BY_MAUVE_TEXT = ["gpt2", "llama-gpt2", "bert"]  # by their names
TEXTS = ["The sea was calm.", "A", "It was the best of times, it was the worst of times", "", "the land", "A", "The sea"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small models of random weights, each with the embedded models' tokenizer."""
    path = tmp_path_factory.mktemp("models")
    for name, build in MODELS.items():
        torch.manual_seed(0)
        build().save_pretrained(path / name)
        AutoTokenizer.from_pretrained(EXPERT).save_pretrained(path / name)
    return path


def alone(featurizer: LoadedFeaturizer, text: str, max_length: int | None = None) -> np.ndarray:
    """The last token's state in a forward of this text only."""
    ids = torch.tensor([featurizer.tokenizer(text)["input_ids"][:max_length]])
    with torch.no_grad():
        return featurizer.model(input_ids=ids).last_hidden_state[0, -1].float().numpy()


def check_features(featurizer: LoadedFeaturizer, texts: list[str], max_length: int | None = None) -> None:
    """Row by row what each text has alone."""
    found = featurizer.features(texts, max_length)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [alone(featurizer, text, max_length) for text in texts], atol=2e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("tokens", [1, 12, 1024])
def test_features_are_those_of_each_text_alone(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, tokens: int) -> None:
    monkeypatch.setitem(mauve_features.BATCH_TOKENS, "cpu", tokens)
    check_features(load_featurizer(folder / name), [text for text in TEXTS if text])
    check_features(load_featurizer(folder / name), [text for text in TEXTS if text], max_length=3)


@settings(max_examples=25)
@given(texts=st.lists(st.text("ab .,é", min_size=1, max_size=30), min_size=1, max_size=8))
def test_any_texts(texts: list[str]) -> None:
    check_features(EMBEDDED, texts)


EMBEDDED = load_featurizer(EXPERT, device="cpu")


@pytest.mark.parametrize("defect", ["padding", "order", "cache"])
def test_the_check_finds_defects(folder: Path, monkeypatch: pytest.MonkeyPatch, defect: str) -> None:
    featurizer = load_featurizer(folder / "gpt2")
    if defect == "padding":
        monkeypatch.setattr(mauve_features, "last_states", padding_read)
    elif defect == "order":
        monkeypatch.setattr(mauve_features, "last_states", lambda *arguments: padding_read(*arguments)[::-1])
    else:
        featurizer.known[tuple(featurizer.tokenizer("the land")["input_ids"])] = np.zeros(32, dtype=np.float32)
    with pytest.raises(AssertionError):
        check_features(featurizer, ["the land", "It was the best of times"])


def padding_read(model: PreTrainedModel, batch: Any) -> np.ndarray:
    """States at the end of the rows, padding or not."""
    ids, mask = mauve_features.padded(batch)
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask).last_hidden_state[:, -1].numpy()


@pytest.mark.filterwarnings("ignore:`past_key_values` is deprecated:FutureWarning")  # mauve-text passes it
@pytest.mark.parametrize("name", READ_BY_MAUVE_TEXT)
@pytest.mark.parametrize("size", [1, 4])
def test_features_are_those_of_mauve_text(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, size: int) -> None:
    theirs = utilities()
    monkeypatch.setenv("DISABLE_TQDM", "1")
    path, texts = str(folder / name), [text for text in TEXTS if text]
    tokenizer = theirs.get_tokenizer(path)
    tokens = [tokenizer.encode(text, return_tensors="pt", truncation=True, max_length=8) for text in texts]
    expected = theirs.featurize_tokens_from_model(theirs.get_model(path, tokenizer, -1), tokens, size).numpy()
    np.testing.assert_allclose(load_featurizer(path).features(texts, 8), expected, atol=2e-5)


def utilities() -> Any:
    """The part of mauve-text that reads texts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("mauve", reason="needs the extra mauve")
        import mauve.utils

    return mauve.utils


def test_equal_texts_are_read_once(folder: Path) -> None:
    featurizer = load_featurizer(folder / "gpt2")
    rows: list[int] = []
    featurizer.model.register_forward_pre_hook(
        lambda module, arguments, keywords: rows.append(len(keywords["input_ids"])), with_kwargs=True
    )
    first = featurizer.features(["the sea", "the land", "the sea"])
    again = featurizer.features(["the land", "the sea", "the sky"])
    assert sum(rows) == 3
    np.testing.assert_array_equal(first[:2], again[1::-1])


@given(lengths=st.lists(st.integers(1, 9), max_size=30), most=st.integers(1, 40))
def test_batches_hold_every_sequence_once_and_are_small(lengths: list[int], most: int) -> None:
    sequences = [(number,) * length for number, length in enumerate(lengths)]
    found = list(batches(sequences, most))
    assert sorted(sequence for batch in found for sequence in batch) == sorted(sequences)
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(map(len, batch)) <= most


def test_precision_and_no_cache(folder: Path) -> None:
    featurizer = load_featurizer(folder / "gpt2", dtype="bfloat16")
    assert featurizer.model.dtype == torch.bfloat16
    found = featurizer.features(["the sea"])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, load_featurizer(folder / "gpt2").features(["the sea"]), atol=0.1)
    with torch.no_grad():
        assert featurizer.model(input_ids=torch.tensor([[5]])).past_key_values is None


def test_errors(folder: Path, tmp_path: Path) -> None:
    featurizer = load_featurizer(folder / "gpt2")
    with pytest.raises(ValueError, match="texts is empty"):
        featurizer.features([])
    with pytest.raises(ValueError, match="text '' has no tokens"):
        featurizer.features(["the sea", ""])
    with pytest.raises(ValueError, match=r"a text of \d+ tokens exceeds the 128 of .*gpt2: pass max_length=128"):
        featurizer.features(["a b c d " * 100])
    with pytest.raises(OSError, match=r"featurizer .*nowhere is neither the folder of a model nor within reach"):
        load_featurizer(tmp_path / "nowhere")
    T5Model(T5Config(vocab_size=64, d_model=8, d_ff=8, d_kv=4, num_layers=1, num_heads=2)).save_pretrained(tmp_path / "t5")
    AutoTokenizer.from_pretrained(EXPERT).save_pretrained(tmp_path / "t5")
    with pytest.raises(ValueError, match="has an encoder and a decoder; take a causal language model or an encoder"):
        load_featurizer(tmp_path / "t5")
    model = AutoModel.from_pretrained(folder / "gpt2")
    model.save_pretrained(tmp_path / "part", state_dict={k: v for k, v in model.state_dict().items() if "h.1.mlp" not in k})
    AutoTokenizer.from_pretrained(EXPERT).save_pretrained(tmp_path / "part")
    with pytest.raises(OSError, match=r"the checkpoint lacks 4 of the model's weights, h\.1\.mlp"):
        load_featurizer(tmp_path / "part")
