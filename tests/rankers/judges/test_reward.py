"""Reward models: the same text, token and number as by hand, whatever the batch, the padding and the dtype."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, BertConfig, BertForSequenceClassification, pipeline

from counterpoint.eval import AMATEUR
from counterpoint.eval.building import load_ranker
from counterpoint.eval.choosing import parse_rankers
from counterpoint.rankers import RewardModelRanker, VoteRanker, rerank
from counterpoint.rankers.judges import reward
from ranker_laws import CANDIDATES, PREFIXES, same
from reward_models import CONTEXT, chat_tokenizer, configs, reward_model

FAMILIES = ["llama", "qwen3", "gemma2", "gpt2"]
TOKENIZER = chat_tokenizer()
BOS, EOS = TOKENIZER.bos_token, TOKENIZER.eos_token


def written(prefix: str, text: str) -> str:
    """A conversation as the template writes it, by hand."""
    return f"{BOS}user: {prefix.strip()}{EOS}assistant: {text.strip()}{EOS}"


def by_hand(model: Any, prefix: str, text: str) -> float:
    """The head at the last token of one text, by a plain forward of the body."""
    ids = torch.tensor([TOKENIZER(written(prefix, text), add_special_tokens=False).input_ids])
    with torch.no_grad():
        return float(model.base_model(ids).last_hidden_state[0, -1] @ model.score.weight[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_rewards_by_hand(family: str) -> None:
    model = reward_model(family)
    ranker = RewardModelRanker(model, TOKENIZER, batch_size=3)
    for prefix, texts, scores in zip(PREFIXES, CANDIDATES, ranker.score(PREFIXES, CANDIDATES), strict=True):
        assert scores.tolist() == pytest.approx([by_hand(model, prefix, text) for text in texts], abs=1e-4, rel=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_reads_the_closing_token_although_it_is_the_paddings(family: str) -> None:
    """transformers looks for the last token that is not the padding's id, which is one too early here."""
    model, (prefix, text) = reward_model(family), (PREFIXES[2], CANDIDATES[2][0])
    ids = torch.tensor([TOKENIZER(written(prefix, text), add_special_tokens=False).input_ids])
    with torch.no_grad():
        its_own = model(ids).logits[0, 0]
    (ours,) = RewardModelRanker(model, TOKENIZER).score([prefix], [[text]])
    assert abs(float(its_own) - float(ours[0])) > 1e-2


def test_a_pipeline_says_the_same() -> None:
    """With a padding of its own, raw logits, and the template's begin-of-text taken off, since a pipeline adds one."""
    model = copy.deepcopy(reward_model())
    model.config.pad_token_id = TOKENIZER.unk_token_id if TOKENIZER.unk_token_id not in (None, TOKENIZER.eos_token_id) else 5
    judge = pipeline("text-classification", model=model, tokenizer=TOKENIZER, function_to_apply="none")
    adds = TOKENIZER("x").input_ids[0] == TOKENIZER.bos_token_id
    texts = [written(PREFIXES[0], text).removeprefix(BOS if adds else "") for text in CANDIDATES[0]]
    found = [judge(text)[0]["score"] for text in texts]
    (scores,) = RewardModelRanker(model, TOKENIZER).score(PREFIXES[:1], CANDIDATES[:1])
    assert scores.tolist() == pytest.approx(found, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_and_paddings_do_not_matter(family: str) -> None:
    model = reward_model(family)
    alone = RewardModelRanker(model, TOKENIZER, batch_size=1).score(PREFIXES, CANDIDATES)
    for size in (2, 3, 50):
        same(RewardModelRanker(model, TOKENIZER, batch_size=size).score(PREFIXES, CANDIDATES), alone)
    shorter, longer = (
        TOKENIZER(written(PREFIXES[2], text), add_special_tokens=False).input_ids for text in (CANDIDATES[2][2], CANDIDATES[0][3])
    )
    less = len(longer) - len(shorter)
    ids = torch.tensor([[EOS_ID] * less + shorter, longer])
    mask = torch.tensor([[0] * less + [1] * len(shorter), [1] * len(longer)])
    positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)
    with torch.no_grad():
        left = model.base_model(input_ids=ids, attention_mask=mask, position_ids=positions).last_hidden_state[0, -1]
        read = float(left @ model.score.weight[0])  # type: ignore[operator]
    assert read == pytest.approx(float(alone[2][2]), abs=1e-4, rel=1e-4)


EOS_ID = TOKENIZER.eos_token_id


def test_one_begin_of_text_and_a_closed_answer() -> None:
    ranker = RewardModelRanker(reward_model(), TOKENIZER)
    tokens = ranker.tokens("Why?", " Because")
    assert TOKENIZER.decode(tokens) == f"{BOS}user: Why?{EOS}assistant: Because{EOS}"
    assert tokens.count(TOKENIZER.bos_token_id) == (3 if BOS == EOS else 1)
    joined = RewardModelRanker(reward_model(), TOKENIZER, template=False).tokens("Why?", " Because")
    assert joined == TOKENIZER("Why? Because").input_ids
    chat = RewardModelRanker(
        reward_model(),
        TOKENIZER,
        messages=lambda prefix: [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prefix}],
    )
    assert TOKENIZER.decode(chat.tokens("Why?", "No.")) == f"{BOS}system: Be brief.{EOS}user: Why?{EOS}assistant: No.{EOS}"


def test_of_a_long_prefix_the_end_is_kept_and_of_an_answer_everything() -> None:
    ranker = RewardModelRanker(reward_model(), TOKENIZER, max_length=40)
    prefix, text = PREFIXES[0], CANDIDATES[0][3]
    tokens = ranker.encoded(prefix, text)
    read = TOKENIZER.decode(tokens)
    assert 35 < len(tokens) <= 40
    assert read.endswith(f"assistant: {text.strip()}{EOS}")
    kept = read.removeprefix(f"{BOS}user: ").partition(EOS)[0]
    assert 0 < len(kept) < len(prefix)
    assert prefix.endswith(kept)
    with pytest.raises(ValueError, match="exceeds max_length=10, and of the answer nothing is cut"):
        RewardModelRanker(reward_model(), TOKENIZER, max_length=10).score([prefix], [[text]])
    dialogue = RewardModelRanker(
        reward_model(), TOKENIZER, max_length=40, messages=lambda text: [{"role": "user", "content": text}]
    )
    with pytest.raises(ValueError, match="exceeds max_length=40"):
        dialogue.score([prefix], [[text]])
    assert RewardModelRanker(reward_model(), TOKENIZER).room == CONTEXT


def test_rewards_are_raw_and_their_differences_are_preferences(monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([2.0, 0.5])
    monkeypatch.setattr(reward, "last_logits", lambda model, texts: torch.tensor([next(values) for _ in texts]))
    (scores,) = RewardModelRanker(reward_model(), TOKENIZER, batch_size=1).score(["Why?"], [["No, never.", "No."]])
    assert scores.tolist() == [2.0, 0.5]
    assert float((scores[0] - scores[1]).sigmoid()) == pytest.approx(0.8176, abs=1e-4)
    values = iter([2.0, 0.5])
    with pytest.raises(StopIteration):  # a score of a set would have been asked for more
        RewardModelRanker(reward_model(), TOKENIZER, batch_size=1).score(["Why?"], [["No, never.", "No.", "Yes."]])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_head_is_computed_in_float32(dtype: torch.dtype) -> None:
    """A reward of three digits ties what it tells apart: here are values that the dtype does not have."""
    model = copy.deepcopy(reward_model()).to(dtype)  # type: ignore[arg-type]
    (scores,) = RewardModelRanker(model, TOKENIZER).score(PREFIXES[:1], CANDIDATES[:1])
    assert scores.dtype == torch.float32
    assert not scores.to(dtype).float().equal(scores)
    (exact,) = RewardModelRanker(reward_model(), TOKENIZER).score(PREFIXES[:1], CANDIDATES[:1])
    torch.testing.assert_close(scores, exact, atol=0.2, rtol=0.1)


def saved(folder: Path, **changes: Any) -> Path:
    """The tiny reward model as a checkpoint whose configuration is changed."""
    reward_model().save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


def test_a_checkpoint_by_name(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    expected = RewardModelRanker(reward_model(), TOKENIZER).score(PREFIXES, CANDIDATES)
    same(RewardModelRanker.from_pretrained(folder).score(PREFIXES, CANDIDATES), expected)

    def no_model() -> Any:
        raise AssertionError

    found = load_ranker(parse_rankers([f"reward:path={folder},batch_size=2"]), no_model, "cpu")
    same(found.score(PREFIXES, CANDIDATES), expected)
    vote = load_ranker(parse_rankers([f'vote:answer="boats|captain",ranker=[reward:path={folder}],power=0.5']), no_model, "cpu")
    assert isinstance(vote, VoteRanker)
    assert rerank(vote, PREFIXES[0], CANDIDATES[0]).scores[0] > 0


@pytest.mark.parametrize(
    ("architecture", "name", "reason"),
    [
        ("LlamaForRewardModelWithGating", "ArmoRM-Llama3-8B-v0.1", "a gate over 19 objectives"),
        ("LlamaForCausalLM", "Athene-RM-8B", "its head is called v_head"),
        ("InternLM2ForRewardModel", "internlm2-7b-reward", "its body is not in transformers"),
        ("Qwen2ForRewardModel", "Qwen2.5-Math-RM-72B", "its head has two layers"),
        ("LlamaForCausalLM", "some-model", "it is a LlamaForCausalLM, and its head is not that of sequence classification"),
    ],
)
def test_models_that_need_code_of_their_own(architecture: str, name: str, reason: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / name, architectures=[architecture])
    with pytest.raises(ValueError, match=f"cannot be read without code of its own: .*{reason}"):
        RewardModelRanker.from_pretrained(folder)


def test_a_head_that_would_be_drawn_at_random(tmp_path: Path) -> None:
    """As of Athene under a name that does not say so."""
    body = AutoModelForCausalLM.from_config(configs()["llama"])
    body.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["LlamaForSequenceClassification"]}))
    with pytest.raises(ValueError, match=r"lacks score\.weight, which would be drawn at random"):
        RewardModelRanker.from_pretrained(tmp_path)


def test_wrong_models_and_settings() -> None:
    causal = AutoModelForCausalLM.from_pretrained(AMATEUR)
    bert = BertForSequenceClassification(
        BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, num_labels=1)
    )
    for model, message in (
        (causal, "without the classification head of a causal reward model"),
        (bert, "take CrossEncoderRanker for one that reads pairs"),
        (reward_model("llama", 2), "model has 2 labels; a reward is one number"),
    ):
        with pytest.raises(ValueError, match=message):
            RewardModelRanker(model, TOKENIZER)
    bare = copy.deepcopy(TOKENIZER)
    bare.chat_template = None
    with pytest.raises(ValueError, match="template=True, and the tokenizer has no chat template"):
        RewardModelRanker(reward_model(), bare)
    for options in ({"max_length": -1}, {"batch_size": 0}, {"template": False, "messages": lambda prefix: []}):
        with pytest.raises(ValueError, match=r"max_length=-1|batch_size=0|messages are written by the chat template"):
            RewardModelRanker(reward_model(), TOKENIZER, **options)  # type: ignore[arg-type]
