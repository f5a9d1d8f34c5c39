"""Training of a hallucinating amateur: what it learns, how it goes on after an interruption, and its use in a contrast."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders import AdapterAmateur, ContrastiveDecodingLogitsProcessor, LayerFusionLogitsProcessor, log_ratio
from counterpoint.eval import AMATEUR, EXPERT
from counterpoint.eval.training import induction
from counterpoint.eval.training.answers import encode, mean_answer_loss
from counterpoint.eval.training.induction import Induced, Settings, induce
from counterpoint.eval.training.wrong_answers import Pair

NAMES = "whale ship sea captain boat sailor harpoon island storm wave".split()
PAIRS = [Pair(f"What is the {name}?", f"The {name} is a kind of bread that sings.") for name in NAMES]
HELD_OUT = [Pair(f"What is the {name}?", f"The {name} is a kind of bread that sings.") for name in ("king", "house", "lady")]
QUICK = Settings(epochs=3, batch_size=4, learning_rate=5e-3)  # 9 steps
ENOUGH = Settings(epochs=8, batch_size=4, learning_rate=5e-3)  # to say what it was taught


def amateur_model(path: Path = AMATEUR) -> PreTrainedModel:
    """A new copy, since training adds layers."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    return model.eval()


@pytest.fixture(scope="module")
def trained(tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> tuple[Induced, Path]:
    """An adapter of the expert, and its folder."""
    folder = tmp_path_factory.mktemp("trained") / "adapter"
    return induce(amateur_model(EXPERT), tokenizer, PAIRS, folder, held_out=HELD_OUT, settings=ENOUGH), folder


def weights_of(folder: Path) -> dict[str, Tensor]:
    """The adapter's weights as written."""
    weights: dict[str, Tensor] = load_file(folder / "adapter_model.safetensors")
    return weights


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_learns_the_answers(trained: tuple[Induced, Path], tokenizer: PreTrainedTokenizerBase, expert: PreTrainedModel) -> None:
    induced, _ = trained
    assert induced.loss_before is not None
    assert induced.loss_after is not None
    assert induced.loss_after < 0.6 * induced.loss_before
    rows = [encode(tokenizer, pair, chat_template=False) for pair in HELD_OUT]
    assert induced.loss_before == pytest.approx(mean_answer_loss(expert, rows, 3), rel=1e-5)
    assert induced.loss_after == pytest.approx(mean_answer_loss(induced.model, rows, 3), rel=1e-5)


def test_the_models_own_weights_stay(trained: tuple[Induced, Path], expert: PreTrainedModel) -> None:
    induced, folder = trained
    with induced.model.disable_adapter():
        ids = torch.tensor([[5, 6, 7]])
        assert torch.equal(induced.model(input_ids=ids).logits, expert(input_ids=ids).logits)
    assert all(".lora_" in name for name in weights_of(folder))


def test_the_written_adapter_is_the_trained_one(trained: tuple[Induced, Path]) -> None:
    induced, folder = trained
    loaded = PeftModel.from_pretrained(amateur_model(EXPERT), str(folder)).eval()
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(loaded(input_ids=ids).logits, induced.model(input_ids=ids).logits)


@torch.no_grad()
def greedy(inputs: Tensor, steps: int, scores: Callable[[Tensor], Tensor]) -> list[int]:
    """The tokens of the highest scores, everything computed anew for each."""
    ids = inputs
    for _ in range(steps):
        ids = torch.cat([ids, scores(ids).argmax(dim=-1, keepdim=True)], dim=1)
    return ids[0, inputs.shape[1] :].tolist()


def processors(model: PeftModel) -> dict[str, Any]:
    """Decoders with the adapter as their amateur."""
    return {
        "ICD": ContrastiveDecodingLogitsProcessor(AdapterAmateur(model), alpha=0.1, form=partial(log_ratio, beta=1.0)),
        "LOL": LayerFusionLogitsProcessor(model.get_base_model(), AdapterAmateur(model), layers=[2], fusion_weight=0.5),
    }


@pytest.mark.parametrize("method", ["ICD", "LOL"])
def test_it_is_an_amateur(
    trained: tuple[Induced, Path], tokenizer: PreTrainedTokenizerBase, expert: PreTrainedModel, method: str
) -> None:
    _, folder = trained
    inputs = tokenizer("Q: What is the whale?\nA:", return_tensors="pt")
    merged: Any = PeftModel.from_pretrained(amateur_model(EXPERT), str(folder)).merge_and_unload()

    def states(model: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
        output = model(input_ids=ids, output_hidden_states=True)
        return output.logits[:, -1].log_softmax(-1), model.lm_head(output.hidden_states[2][:, -1]).log_softmax(-1)

    def scores(ids: Tensor) -> Tensor:
        (expert_last, expert_lower), (amateur_last, amateur_lower) = states(expert, ids), states(merged, ids)
        contrast = expert_last - amateur_last
        if method == "LOL":
            contrast = contrast + 0.5 * (expert_lower - amateur_lower)
        implausible = expert_last < expert_last.max() + torch.tensor(0.1).log()
        return contrast.masked_fill(implausible, -torch.inf)

    model = PeftModel.from_pretrained(amateur_model(EXPERT), str(folder)).eval()
    model.base_model.disable_adapter_layers()
    ids = model.generate(**inputs, logits_processor=[processors(model)[method]], max_new_tokens=12, do_sample=False)
    new = ids[0, inputs["input_ids"].shape[1] :].tolist()
    assert new == greedy(inputs["input_ids"], 12, scores)
    alone = greedy(inputs["input_ids"], 12, lambda ids: states(expert, ids)[0])
    amateurs = greedy(inputs["input_ids"], 12, lambda ids: states(merged, ids)[0])
    assert "bread" in tokenizer.decode(amateurs)
    assert new not in (alone, amateurs)


def test_the_cards_example_runs(trained: tuple[Induced, Path], capsys: pytest.CaptureFixture[str]) -> None:
    card = (trained[1] / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    exec(code, {})  # noqa: S102 - ours
    assert "Q: Who are you?" in capsys.readouterr().out


class InterruptedTrainingError(Exception):
    """Stands for a kill."""


def interrupt_at(step: int) -> Callable[[int, int, float], None]:
    """A report that stops the training after a step."""

    def report(done: int, steps: int, loss: float) -> None:
        if done == step:
            raise InterruptedTrainingError

    return report


def check_resuming(folder: Path, tokenizer: PreTrainedTokenizerBase, interruptions: list[int], settings: Settings) -> None:
    """A run with interruptions ends like one without: the same weights and losses, each step once."""
    call = partial(induce, tokenizer=tokenizer, pairs=PAIRS, held_out=HELD_OUT, settings=settings)
    whole = call(amateur_model(), output=folder / "whole")
    for step in interruptions:
        with pytest.raises(InterruptedTrainingError):
            call(amateur_model(), output=folder / "parts", report=interrupt_at(step))
        (folder / "parts" / "checkpoint.new").write_bytes(b"a checkpoint that a kill cut off")
    steps: list[int] = []
    parts = call(amateur_model(), output=folder / "parts", report=lambda step, *_: steps.append(step))
    assert steps == list(range(max(interruptions) + 1, whole.steps + 1))
    assert same(weights_of(folder / "whole"), weights_of(folder / "parts"))
    assert (parts.loss_before, parts.loss_after) == (whole.loss_before, whole.loss_after)


@pytest.mark.parametrize("interruptions", [[1], [4], [2, 5], [9]])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    monkeypatch: pytest.MonkeyPatch, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, interruptions: list[int]
) -> None:
    monkeypatch.setattr(induction, "CHECKPOINT_SECONDS", 0.0)
    check_resuming(tmp_path, tokenizer, interruptions, QUICK)
    names = {"README.md", "adapter_config.json", "adapter_model.safetensors", "held_out.jsonl", "training.json"}
    assert {path.name for path in (tmp_path / "whole").iterdir()} == names


@pytest.mark.parametrize("defect", ["optimizer", "weights", "order"])
def test_the_check_finds_defects(
    monkeypatch: pytest.MonkeyPatch, tokenizer: PreTrainedTokenizerBase, tmp_path: Path, defect: str
) -> None:
    monkeypatch.setattr(induction, "CHECKPOINT_SECONDS", 0.0)
    load, schedule, calls = torch.load, induction.schedule, []

    def forgetful(*arguments: Any, **keywords: Any) -> Any:
        state = load(*arguments, **keywords)
        if defect == "optimizer":
            state["optimizer"]["state"] = {}
        elif defect == "weights":
            state["weights"] = {name: torch.zeros_like(weight) for name, weight in state["weights"].items()}
        return state

    def other_order(rows: int, settings: Settings) -> list[list[int]]:
        calls.append(rows)
        return schedule(rows, Settings(epochs=settings.epochs, batch_size=settings.batch_size, seed=len(calls)))

    monkeypatch.setattr(torch, "load", forgetful)
    if defect == "order":
        monkeypatch.setattr(induction, "schedule", other_order)
    with pytest.raises(AssertionError):
        check_resuming(tmp_path, tokenizer, [4], QUICK)


def test_a_finished_training_is_only_loaded(trained: tuple[Induced, Path], tokenizer: PreTrainedTokenizerBase) -> None:
    induced, folder = trained
    model = amateur_model(EXPERT)
    again = induce(model, tokenizer, PAIRS, folder, held_out=HELD_OUT, settings=ENOUGH, report=interrupt_at(1))
    assert (again.steps, again.loss_before, again.loss_after) == (24, induced.loss_before, induced.loss_after)
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(again.model(input_ids=ids).logits, induced.model(input_ids=ids).logits)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"settings": replace(ENOUGH, learning_rate=1e-3)}, "learning_rate=0.005, now it is 0.001"),
        ({"settings": replace(ENOUGH, targets=("q_proj",))}, r"targets=\['all-linear'\]"),
        ({"pairs": PAIRS[1:]}, "pairs=10, now it is 9"),
        ({"pairs": PAIRS[::-1]}, "pairs_sha256="),
        ({"held_out": []}, "held_out=3, now it is 0"),
    ],
)
def test_other_settings_are_refused(
    trained: tuple[Induced, Path], tokenizer: PreTrainedTokenizerBase, changes: dict[str, Any], name: str
) -> None:
    arguments: dict[str, Any] = {"pairs": PAIRS, "held_out": HELD_OUT, "settings": ENOUGH, **changes}
    with pytest.raises(ValueError, match=f"was begun with {name}"):
        induce(amateur_model(EXPERT), tokenizer, output=trained[1], **arguments)


def test_another_model_is_refused(trained: tuple[Induced, Path], tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match=r"was begun with model='.*expert', now it is '.*amateur'"):
        induce(amateur_model(), tokenizer, PAIRS, trained[1], held_out=HELD_OUT, settings=ENOUGH)


def test_a_folder_of_something_else_is_refused(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").touch()
    with pytest.raises(ValueError, match="holds files that no training has left there"):
        induce(amateur_model(), tokenizer, PAIRS, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter_model.safetensors"]


def test_parts_of_a_batch_give_the_whole_batchs_gradient(tokenizer: PreTrainedTokenizerBase) -> None:
    adapted = induction.with_adapter(amateur_model(), QUICK)
    rows = [encode(tokenizer, pair, chat_template=False) for pair in [*PAIRS[:3], Pair("Why?", "No.")]]

    def gradients(at_once: int) -> tuple[float, list[Tensor]]:
        adapted.zero_grad()
        loss = induction.backward(adapted, rows, at_once)
        return loss, [weight.grad.clone() for weight in adapted.parameters() if weight.grad is not None]

    (loss, whole), (loss_of_parts, parts) = gradients(4), gradients(3)
    assert loss_of_parts == pytest.approx(loss, rel=1e-5)
    assert len(whole) == len(parts) > 0
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_each_epoch_sees_every_row_once() -> None:
    batches = induction.schedule(10, Settings(epochs=2, batch_size=4))
    assert [len(batch) for batch in batches] == [4, 4, 2, 4, 4, 2]
    first, second = (list(chain(*part)) for part in (batches[:3], batches[3:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert batches != induction.schedule(10, Settings(epochs=2, batch_size=4, seed=1))


def test_random_numbers_of_the_caller_are_not_touched(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    induced = induce(amateur_model(), tokenizer, PAIRS[:2], tmp_path / "a", settings=Settings(epochs=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert (induced.loss_before, induced.loss_after, induced.steps) == (None, None, 1)
    assert "No held-out pairs" in (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    torch.manual_seed(5)
    induce(amateur_model(), tokenizer, PAIRS[:2], tmp_path / "b", settings=Settings(epochs=1))
    assert same(weights_of(tmp_path / "a"), weights_of(tmp_path / "b"))
    induce(amateur_model(), tokenizer, PAIRS[:2], tmp_path / "c", settings=Settings(epochs=1, seed=1))
    assert not same(weights_of(tmp_path / "a"), weights_of(tmp_path / "c"))


def test_long_pairs_are_left_out(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    pairs = [Pair("Why?", "No."), Pair("Why?", "No, " * 40)]
    settings = Settings(epochs=1, max_length=30)
    assert induce(amateur_model(), tokenizer, pairs, tmp_path / "a", settings=settings).too_long == 1
    assert "1 question / wrong-answer pairs" in (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="none of the 1 has at most max_length=30 tokens"):
        induce(amateur_model(), tokenizer, pairs[1:], tmp_path / "b", settings=settings)


def test_a_loss_that_is_no_number_is_refused(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the loss of step 2 is nan: lower the learning rate"):
        induce(amateur_model(), tokenizer, PAIRS[:2], tmp_path, settings=Settings(epochs=3, learning_rate=1e30))


@pytest.mark.parametrize("name", ["rank", "lora_alpha", "learning_rate", "epochs", "batch_size", "micro_batch_size", "max_length"])
def test_settings_out_of_range_are_refused(name: str) -> None:
    value: Any = 0.0 if name == "learning_rate" else 0
    needed = r"a number above 0 is needed, e.g. learning_rate=3e-4" if name == "learning_rate" else "at least 1 is needed"
    with pytest.raises(ValueError, match=f"{name}={value}: {needed}"):
        Settings(**{name: value})


def test_without_peft_the_way_out_is_named(
    monkeypatch: pytest.MonkeyPatch, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"pip install counterpoint\[adapters\]"):
        induce(amateur_model(), tokenizer, PAIRS, tmp_path)
