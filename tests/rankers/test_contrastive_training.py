"""Contrastive training: the loss from scratch, minibatches of one document, caching, and going on after a kill."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, Trainer

from counterpoint.rankers import Ranker
from counterpoint.rankers.training import contrastive_training
from counterpoint.rankers.training import info_nce as loss_module
from counterpoint.rankers.training.contrastive_training import Minibatches, Settings, collate, last_checkpoint, minibatches, train
from counterpoint.rankers.training.info_nce import Contrastive, TrainableEncoder, info_nce
from counterpoint.rankers.training.passages import Passage

WORDS = "whale ship sea captain boat sailor harpoon island storm wave".split()
PASSAGES = [
    Passage(book, f"In the {book} there was a {word}.", f" The {word} of the {book} was old.", longest=10)
    for book in ("north", "south", "east")
    for word in WORDS[: 9 if book == "east" else 10]
]
NEGATIVES = [[f" A {word} was not there."] * (index % 3) for index, word in enumerate(WORDS * 3)][: len(PASSAGES)]
QUICK = Settings(learning_rate=0.05, epochs=2, batch_size=4, checkpoint_steps=3)


class Bag(TrainableEncoder):
    """Mean embeddings, through a layer that differs for prefixes by their first token; with dropout, which draws numbers."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, dropout: float = 0.0) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embedding = nn.Embedding(len(tokenizer), 6)
            self.projection = nn.Linear(6, 6, bias=False)
        self.dropout = nn.Dropout(dropout)

    def tokens(self, texts: Sequence[str], side: str) -> dict[str, Tensor]:
        marked = [f"{side}{text}" for text in texts]
        return dict(self.tokenizer(marked, padding=True, padding_side="right", return_tensors="pt", return_token_type_ids=False))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = self.dropout(self.embedding(input_ids)) * attention_mask[..., None]
        vectors: Tensor = self.projection(states.sum(dim=1) / attention_mask.sum(dim=1, keepdim=True))
        return vectors

    def as_ranker(self) -> Ranker:
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        raise NotImplementedError


def gradients(module: nn.Module) -> dict[str, Tensor]:
    """Of all weights."""
    return {name: weight.grad.clone() for name, weight in module.named_parameters() if weight.grad is not None}


def minibatch(encoder: Bag, own: Sequence[int]) -> dict[str, Any]:
    """The tokens of some passages."""
    return dict(collate(encoder, [Minibatches(PASSAGES, NEGATIVES, [own])[0]]))


def test_the_loss_is_the_papers() -> None:
    generator = torch.Generator().manual_seed(0)
    prefixes = torch.randn(3, 4, generator=generator, dtype=torch.float64).float()
    candidates = torch.randn(8, 4, generator=generator, dtype=torch.float64).float()
    expected = 0.0
    for index in range(3):
        weights = [math.exp(sum(p * c for p, c in zip(prefixes[index].tolist(), row, strict=True))) for row in candidates.tolist()]
        expected -= math.log(weights[index] / sum(weights)) / 3
    assert info_nce(prefixes, candidates).item() == pytest.approx(expected, rel=1e-5)


def test_its_gradient_is_the_softmax_less_the_truth() -> None:
    generator = torch.Generator().manual_seed(0)
    prefixes = torch.randn(3, 4, generator=generator).requires_grad_()
    candidates = torch.randn(5, 4, generator=generator).requires_grad_()
    info_nce(prefixes, candidates).backward()
    surplus = torch.softmax(prefixes.detach() @ candidates.detach().T, dim=1) - torch.eye(3, 5)
    torch.testing.assert_close(prefixes.grad, surplus @ candidates.detach() / 3)
    torch.testing.assert_close(candidates.grad, surplus.T @ prefixes.detach() / 3)


def check_caching(tokenizer: PreTrainedTokenizerBase, size: int, dropout: float) -> None:
    """In parts, loss and gradients are those of the whole, and dropout draws the same numbers when it is computed again."""
    encoder = Bag(tokenizer, dropout)
    inputs = minibatch(encoder, [0, 1, 2, 3, 4])

    def result(micro: int | None, split_forward: bool) -> tuple[Tensor, dict[str, Tensor]]:
        encoder.zero_grad()
        torch.manual_seed(1)
        if split_forward:  # the same parts, their activations kept
            vectors = {
                name: torch.cat(
                    [
                        encoder(**{key: tensor[first : first + size] for key, tensor in tokens.items()})
                        for first in range(0, len(tokens["input_ids"]), size)
                    ]
                )
                for name, tokens in inputs.items()
            }
            loss = info_nce(vectors["prefixes"], vectors["candidates"])
        else:
            loss = Contrastive(encoder, micro)(**inputs)["loss"]
        loss.backward()
        return loss.detach(), gradients(encoder)

    loss, found = result(size, split_forward=False)
    expected_loss, expected = result(None, split_forward=dropout > 0)
    torch.testing.assert_close(loss, expected_loss)
    assert expected.keys() == {"embedding.weight", "projection.weight"}
    for name, gradient in expected.items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(found[name], gradient)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_gradient_caching_changes_nothing(tokenizer: PreTrainedTokenizerBase, size: int, dropout: float) -> None:
    check_caching(tokenizer, size, dropout if size < 5 else 0.0)


def test_the_check_of_caching_finds_lost_gradients(tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch) -> None:
    def detached(encoder: nn.Module, use_reentrant: bool, **tokens: Tensor) -> Tensor:
        vectors: Tensor = encoder(**tokens)
        return vectors if len(vectors) == 2 else vectors.detach()

    monkeypatch.setattr(loss_module, "checkpoint", detached)
    with pytest.raises(AssertionError):
        check_caching(tokenizer, 2, 0.0)


def test_parts_activations_are_not_kept(tokenizer: PreTrainedTokenizerBase) -> None:
    encoder = Bag(tokenizer)
    inputs = minibatch(encoder, list(range(10)))

    def saved(micro: int | None) -> int:
        """Numbers that autograd keeps for the backward pass, weights apart."""
        sizes: list[int] = []
        weights = {weight.data_ptr() for weight in encoder.parameters()}

        def pack(tensor: Tensor) -> Tensor:
            if tensor.is_floating_point() and tensor.data_ptr() not in weights:
                sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            Contrastive(encoder, micro).vectors(inputs["candidates"])
        return sum(sizes)

    assert saved(2) == 0 < saved(None)


@given(st.lists(st.integers(1, 9), max_size=6), st.integers(2, 5), st.integers(1, 3), st.integers(0, 3))
def test_a_minibatch_is_of_one_document(sizes: list[int], batch_size: int, epochs: int, seed: int) -> None:
    books = [Passage(f"book {book}", "P.", f" C{index}.", 2) for book, size in enumerate(sizes) for index in range(size)]
    batches = minibatches(books, batch_size, epochs, seed)
    assert all(len({books[index].document for index in batch}) == 1 for batch in batches)
    assert all(2 <= len(batch) <= batch_size for batch in batches)
    seen = [batches.count(batch) for batch in batches]
    assert len(seen) == epochs * sum(max(-(-size // batch_size) - (size % batch_size == 1), 0) for size in sizes)
    counts = [sum(index in batch for batch in batches) for index in range(len(books))]
    assert max(counts, default=0) <= epochs
    left_out = sum(size % batch_size == 1 for size in sizes)
    assert sum(counts) == epochs * (len(books) - left_out)
    assert batches == minibatches(books, batch_size, epochs, seed)


def test_epochs_differ() -> None:
    batches = minibatches(PASSAGES, 4, 2, 0)
    half = len(batches) // 2
    assert sorted(map(sorted, batches[:half])) != sorted(map(sorted, batches[half:]))
    documents = [PASSAGES[batch[0]].document for batch in batches[:half]]
    assert documents != sorted(documents, key=["north", "south", "east"].index)


def test_candidates_are_the_true_continuations_then_the_generated_ones() -> None:
    item = Minibatches(PASSAGES, NEGATIVES, [[5, 1, 3]])[0]
    assert item["prefixes"] == [PASSAGES[index].prefix for index in (5, 1, 3)]
    assert item["candidates"] == [PASSAGES[index].continuation for index in (5, 1, 3)] + [*NEGATIVES[5], *NEGATIVES[1]]


def by_hand(encoder: Bag, settings: Settings, processes: int = 1) -> dict[str, Tensor]:
    """The weights that AdamW and the schedule give, written out."""
    batches = minibatches(PASSAGES, settings.batch_size, settings.epochs, settings.seed)
    steps = -(-len(batches) // processes)
    batches += batches[: steps * processes - len(batches)]  # the last step of all processes is filled from the start
    rising = math.ceil(settings.warmup * steps)
    optimizer = torch.optim.AdamW(encoder.parameters(), weight_decay=0.0)
    for step in range(steps):
        share = step / max(rising, 1) if step < rising else (steps - step) / max(steps - rising, 1)
        optimizer.param_groups[0]["lr"] = settings.learning_rate * share
        for own in batches[step * processes : (step + 1) * processes]:
            tokens = minibatch(encoder, own)
            (info_nce(encoder(**tokens["prefixes"]), encoder(**tokens["candidates"])) / processes).backward()
        norm = torch.cat([gradient.flatten() for gradient in gradients(encoder).values()]).norm()
        for weight in encoder.parameters():
            weight.grad *= min(1.0, 1.0 / (norm + 1e-6))
        optimizer.step()
        optimizer.zero_grad()
    return dict(encoder.state_dict())


def test_training_is_adamw_on_the_loss(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    encoder, losses = Bag(tokenizer), []
    steps = train(encoder, PASSAGES, NEGATIVES, tmp_path, QUICK, cpu=True, report=lambda *at: losses.append(at))
    assert steps == len(minibatches(PASSAGES, 4, 2, 0)) == 16
    expected = by_hand(Bag(tokenizer), QUICK)
    for name, weight in encoder.state_dict().items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-4, atol=1e-5)
    assert [(step, of) for step, of, _ in losses] == [(step, 16) for step in range(1, 17)]
    assert losses[-1][2] < math.log(8)


class InterruptedTrainingError(Exception):
    """Stands for a kill."""


def check_resuming(tokenizer: PreTrainedTokenizerBase, folder: Path, interruptions: Sequence[int], dropout: float = 0.3) -> None:
    """A run with interruptions ends with the weights of one without."""
    whole = Bag(tokenizer, dropout)
    train(whole, PASSAGES, NEGATIVES, folder / "whole", QUICK, cpu=True)
    for last in interruptions:

        def interrupt(step: int, steps: int, loss: float, last: int = last) -> None:
            if step == last:
                raise InterruptedTrainingError

        with pytest.raises(InterruptedTrainingError):
            train(Bag(tokenizer, dropout), PASSAGES, NEGATIVES, folder / "parts", QUICK, cpu=True, report=interrupt)
        broken = folder / "parts" / f"checkpoint-{last + 1}"  # which a kill cut off
        broken.mkdir(exist_ok=True)
        (broken / "model.safetensors").write_bytes(b"")
    found, steps = Bag(tokenizer, dropout), []
    train(found, PASSAGES, NEGATIVES, folder / "parts", QUICK, cpu=True, report=lambda step, *_: steps.append(step))
    assert steps == list(range(max(interruptions) // 3 * 3 + 1, 17))
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, found.state_dict()[name])


@pytest.mark.parametrize("interruptions", [[2], [4], [7, 14], [16]], ids=str)
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, interruptions: list[int]
) -> None:
    check_resuming(tokenizer, tmp_path, interruptions)


@pytest.mark.parametrize("defect", ["weights", "optimizer", "random numbers", "order"])
def test_the_check_of_resuming_finds_defects(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defect: str
) -> None:
    nothing = {
        "weights": "_load_from_checkpoint",
        "optimizer": "_load_optimizer_and_scheduler",
        "random numbers": "_load_rng_state",
    }
    if defect == "order":
        calls: list[int] = []

        def other(passages: Sequence[Passage], size: int, epochs: int, seed: int) -> list[list[int]]:
            calls.append(seed)
            return minibatches(passages, size, epochs, len(calls))

        monkeypatch.setattr(contrastive_training, "minibatches", other)
    else:
        monkeypatch.setattr(Trainer, nothing[defect], lambda self, *arguments, **keywords: None)
    with pytest.raises(AssertionError):
        check_resuming(tokenizer, tmp_path, [7])


def test_shared_weights_are_stored_once_and_found_again(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    class Tied(Bag):
        def __init__(self) -> None:
            super().__init__(tokenizer)
            self.same = self.embedding

    whole, parts = Tied(), Tied()
    train(whole, PASSAGES, NEGATIVES, tmp_path, QUICK, cpu=True)
    assert load_file(tmp_path / "checkpoint-15" / "model.safetensors").keys() == {
        "encoder.embedding.weight",
        "encoder.projection.weight",
    }
    rmtree(tmp_path / "checkpoint-16")
    train(parts, PASSAGES, NEGATIVES, tmp_path, QUICK, cpu=True)
    assert torch.equal(parts.embedding.weight, whole.embedding.weight)


def test_checkpoints_are_few_and_whole(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    train(Bag(tokenizer), PASSAGES, NEGATIVES, tmp_path, QUICK, cpu=True)
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-15", "checkpoint-16"]
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-16"
    weights = load_file(tmp_path / "checkpoint-16" / "model.safetensors")
    assert weights.keys() == {"encoder.embedding.weight", "encoder.projection.weight"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs=0: at least 1"),
        ({"batch_size": 1}, "batch_size=1: at least 2"),
        ({"micro_batch_size": 0}, "micro_batch_size=0: at least 1"),
        ({"learning_rate": 0.0}, "learning_rate=0.0: a number above 0"),
        ({"learning_rate": math.nan}, "learning_rate=nan"),
        ({"warmup": 1.0}, "warmup=1.0: a share"),
    ],
)
def test_settings_that_cannot_be(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**arguments)


def test_documents_of_one_passage_are_refused(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none of the documents has two passages, of 1 in all"):
        train(Bag(tokenizer), PASSAGES[:1], NEGATIVES[:1], tmp_path, QUICK, cpu=True)
