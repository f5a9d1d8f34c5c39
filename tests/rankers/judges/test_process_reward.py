"""Process reward models: every format by hand, one text at a time, and what aggregates and formats refuse."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification, AutoTokenizer, LlamaForCausalLM, Qwen2Config

from counterpoint.rankers import ProcessRewardRanker, aggregated
from counterpoint.rankers.judges.process_reward import Qwen2ProcessRewardModel
from ranker_laws import same
from reward_models import SIZES, chat_tokenizer, configs

TOKENIZER = chat_tokenizer()
TOKENIZER.add_tokens([" \u043a\u0438", "<extra_0>"])  # a token each, as in the tokenizers of these models
BOS, EOS = TOKENIZER.bos_token, TOKENIZER.eos_token
QUESTION = "How many boats are there?"
TEXTS = [" One boat came.\n\nThen two more.\n\nSo 3.", " 4", " The sea was calm.\n\n \n\nNo boats.\n\n"]
STEPS = [["One boat came.", "Then two more.", "So 3."], ["4"], ["The sea was calm.", "No boats."]]
FORMATS = ["shepherd", "chat", "qwen", "token_classification"]


def model(form: str) -> Any:
    """A tiny random model of a format."""
    config = configs()["llama"]
    config.vocab_size, config.num_labels = len(TOKENIZER), 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        if form == "qwen":
            made: Any = Qwen2ProcessRewardModel(Qwen2Config(vocab_size=len(TOKENIZER), num_labels=2, **SIZES))
        elif form == "token_classification":
            made = AutoModelForTokenClassification.from_config(config)
        else:
            made = AutoModelForCausalLM.from_config(config)
        for weight in made.parameters():
            if weight.ndim > 1:
                weight.data.normal_(std=0.4)
    return made.eval()


def by_hand(form: str, made: Any, steps: list[str]) -> list[float]:
    """The probability of each step from a forward that reads no further than it."""
    ids = lambda text: TOKENIZER(text, add_special_tokens=False).input_ids  # noqa: E731
    found = []
    for number in range(1, len(steps) + 1):
        upto = steps[:number]
        if form == "shepherd":
            read, classes = TOKENIZER(f"{QUESTION} " + "\n".join(f"{step} \u043a\u0438" for step in upto)).input_ids, True
        elif form == "chat":
            said = [QUESTION + " " + upto[0], *upto[1:]]
            chat = BOS + f"assistant: +{EOS}".join(f"user: {step}{EOS}" for step in said) + "assistant: "
            read, classes = ids(chat), True
        elif form == "qwen":
            system = "Please reason step by step, and put your final answer within \\boxed{}."
            answer = "".join(f"{step}<extra_0>" for step in upto)
            read, classes = ids(f"{BOS}system: {system}{EOS}user: {QUESTION}{EOS}assistant: {answer}"), False
        else:
            read, classes = (
                TOKENIZER(QUESTION).input_ids + [t for step in upto for part in (step, "\n\n") for t in ids(part)],
                False,
            )
        with torch.no_grad():
            logits = made(torch.tensor([read])).logits[0, -1]
        space = " " if form == "shepherd" else ""
        signs = [ids(f"{space}{sign}")[-1] for sign in "-+"]
        found.append(float((logits[signs] if classes else logits).softmax(dim=-1)[1]))
    return found


@pytest.mark.parametrize("form", FORMATS)
def test_steps_by_hand(form: str) -> None:
    """Every step in one forward is the step of a text that ends there, so later steps do not matter."""
    made = model(form)
    ranker = ProcessRewardRanker(made, TOKENIZER, format=form, batch_size=2)
    for steps, found in zip(STEPS, ranker.step_scores(QUESTION, TEXTS), strict=True):
        assert found == pytest.approx(by_hand(form, made, steps), abs=1e-4)
        assert all(0 <= each <= 1 for each in found)
    assert len({round(each, 4) for found in ranker.step_scores(QUESTION, TEXTS) for each in found}) > 3


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("aggregate", ["last", "min", "prod", "mean"])
def test_aggregates(form: str, aggregate: str) -> None:
    made = model(form)
    ranker = ProcessRewardRanker(made, TOKENIZER, format=form, aggregate=aggregate)
    (scores,) = ranker.score([QUESTION], [TEXTS])
    steps = ranker.step_scores(QUESTION, TEXTS)
    assert scores.tolist() == pytest.approx([aggregated(each, aggregate) for each in steps], abs=1e-6)
    assert scores[1] == pytest.approx(steps[1][0])  # one step is all of them


def test_the_worked_number() -> None:
    found = [aggregated([0.9, 0.8, 0.95], how) for how in ("min", "prod", "last", "mean")]
    assert found == pytest.approx([0.8, 0.684, 0.95, 0.8833], abs=1e-4)


def test_a_probability_of_0_is_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The released reading of Qwen's drops scores of 0, which moves all later steps."""
    made = model("qwen")
    made.score[2].weight.data.zero_()
    made.score[2].bias.data = torch.tensor([1e4, 0.0])
    ranker = ProcessRewardRanker(made, TOKENIZER, format="qwen")
    assert ranker.step_scores(QUESTION, TEXTS) == [[0.0] * 3, [0.0], [0.0] * 2]


@pytest.mark.parametrize("form", FORMATS)
def test_a_checkpoint_by_name(form: str, tmp_path: Path) -> None:
    made = model(form)
    made.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    found = ProcessRewardRanker.from_pretrained(tmp_path, format=form, aggregate="min")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)  # of the class that the family has
    expected = ProcessRewardRanker(made, tokenizer, format=form, aggregate="min")
    same(found.score([QUESTION], [TEXTS]), expected.score([QUESTION], [TEXTS]))
    other = "qwen" if form == "chat" else "token_classification"
    if form in ("shepherd", "chat"):
        with pytest.raises(ValueError, match="which would be drawn at random: is it another format"):
            ProcessRewardRanker.from_pretrained(tmp_path, format=other)


def test_what_cannot_be_judged() -> None:
    causal = model("chat")
    for options, message in (
        ({"format": "plain"}, "format='plain': choose one of shepherd, chat, qwen, token_classification"),
        ({"aggregate": "max"}, "aggregate='max': choose one of last, min, prod, mean"),
        ({"step": ""}, "step='' separates nothing"),
        ({"batch_size": 0}, "batch_size=0"),
    ):
        with pytest.raises(ValueError, match=message):
            ProcessRewardRanker(causal, TOKENIZER, **options)  # type: ignore[arg-type]
    three = copy.deepcopy(model("token_classification"))
    three.config.num_labels = 3
    with pytest.raises(ValueError, match="model has 3 labels, and format='token_classification' has two"):
        ProcessRewardRanker(three, TOKENIZER, format="token_classification")
    bare = copy.deepcopy(TOKENIZER)
    bare.chat_template = None
    with pytest.raises(ValueError, match="format='chat' is a chat, and the tokenizer has no chat template"):
        ProcessRewardRanker(causal, bare, format="chat")
    with pytest.raises(ValueError, match="exceeds the model's context of 512"):
        ProcessRewardRanker(causal, TOKENIZER, format="chat").score([QUESTION], [[" boats" * 600]])
    with pytest.raises(ValueError, match="its value head, v_head, is not in transformers"):
        ProcessRewardRanker.from_pretrained("Skywork/Skywork-o1-Open-PRM-Qwen-2.5-1.5B")
    assert isinstance(causal, LlamaForCausalLM)
