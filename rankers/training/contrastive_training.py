"""Training by InfoNCE over a document's passages: its settings, its minibatches, and a trainer of them.

Krishna et al., *RankGen: Improving Text Generation with Large Ranking Models* (EMNLP 2022, arXiv 2205.09726), section 3.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch.utils.data import Dataset

from counterpoint.rankers.training.info_nce import Contrastive, Tokens, TrainableEncoder
from counterpoint.rankers.training.passages import Passage
from counterpoint.rankers.training.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

TRAINER_STATE = "trainer_state.json"  # what the trainer writes last into a checkpoint
LOGGED = 10  # steps whose mean loss is reported
LARGEST_GRADIENT = 1.0

Report = Callable[[int, int, float], object]
"""Called after every step with its number, the number of all steps, and the mean loss of the last ones that were averaged."""


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingSettings):
    """What determines a trained ranker, together with its first weights, the passages and the negatives.

    The examples are passages; those of a step, a minibatch, are of one document, and each process has minibatches of its own.

    Args:
        learning_rate: The learning rate of AdamW after ``warmup``, from where it falls linearly to 0.
        epochs: How many times every passage is seen.
        batch_size: Number of passages in a minibatch.
        micro_batch_size: Number of texts that go through the encoder at once, None for all of a minibatch.
        seed: Seed of the order of the passages.
        warmup: Share of the steps in which the learning rate rises linearly from 0.
        checkpoint_steps: Number of steps between checkpoints.
        bf16: Whether the forward computes in bfloat16; weights and loss stay in float32.

    Raises:
        ValueError: For a number that is too small.
    """

    learning_rate: float = 3e-4
    epochs: int = 1
    batch_size: int = 32
    warmup: float = 0.05
    checkpoint_steps: int = 100
    bf16: bool = False

    LEAST: ClassVar[Mapping[str, int]] = {**TrainingSettings.LEAST, "batch_size": 2, "checkpoint_steps": 1}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup={self.warmup!r}: a share of the steps is needed, 0 or more and less than 1")


DEFAULTS = Settings()


def minibatches(passages: Sequence[Passage], size: int, epochs: int, seed: int) -> list[list[int]]:
    """The passages of every minibatch, each of one document, so that its other continuations are in-book negatives.

    In every epoch the passages of each document are shuffled and divided into minibatches of ``size`` (the last may be smaller, but
    has two at least), and the minibatches of all documents are shuffled. Documents of one passage give none.

    Args:
        passages: The passages, those of a document next to each other.
        size: Largest number of passages in a minibatch.
        epochs: How many times every passage is seen, but for one left over in a document.
        seed: Seed of the order.
    """
    shuffled = random.Random(seed)  # noqa: S311 - no secret
    documents = [list(own) for _, own in groupby(range(len(passages)), key=lambda index: passages[index].document)]
    batches: list[list[int]] = []
    for _ in range(epochs):
        epoch: list[list[int]] = []
        for own in documents:
            shuffled.shuffle(own)
            epoch += [own[first : first + size] for first in range(0, len(own) - 1, size)]
        shuffled.shuffle(epoch)
        batches += epoch
    return batches


class Minibatches(Dataset[dict[str, list[str]]]):
    """What the trainer takes for its examples: whole minibatches, in order."""

    def __init__(self, passages: Sequence[Passage], negatives: Sequence[Sequence[str]], batches: Sequence[Sequence[int]]) -> None:
        self.passages, self.negatives, self.batches = passages, negatives, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> dict[str, list[str]]:
        own = self.batches[index]
        true = [self.passages[one].continuation for one in own]
        generated = [text for one in own for text in self.negatives[one]]
        return {"prefixes": [self.passages[one].prefix for one in own], "candidates": true + generated}


def reporting(report: Report) -> TrainerCallback:
    """A callback that hands on every step, with the loss that was last logged."""
    from transformers import TrainerCallback

    class Reporting(TrainerCallback):
        def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any) -> None:
            losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
            report(state.global_step, state.max_steps, losses[-1] if losses else math.nan)

    return Reporting()


def train(
    encoder: TrainableEncoder,
    passages: Sequence[Passage],
    negatives: Sequence[Sequence[str]],
    output: Path,
    settings: Settings = DEFAULTS,
    *,
    cpu: bool = False,
    report: Report | None = None,
) -> int:
    """Train an encoder in place by AdamW with a learning rate that rises and then falls linearly; the number of steps.

    It goes on from the last whole checkpoint in ``output``, where transformers' trainer writes them, and then ends with the
    weights of an uninterrupted run. Under ``accelerate launch`` every process has minibatches of its own, and the gradient is
    their mean.

    Args:
        encoder: A module and its tokenizer.
        passages: The passages, those of a document next to each other.
        negatives: Generated continuations of each, none or more.
        output: The folder of the checkpoints.
        settings: How the encoder is trained.
        cpu: Whether to leave an accelerator alone.
        report: Called after every step.

    Raises:
        ValueError: If no document has two passages, or the loss is not finite.
    """
    from transformers import PrinterCallback, Trainer, TrainingArguments  # here, since they import PEFT where it is installed

    from counterpoint.decoders.hf.training import train_on_one_device

    batches = minibatches(passages, settings.batch_size, settings.epochs, settings.seed)
    if not batches:
        raise ValueError(
            f"none of the documents has two passages, of {len(passages)} in all: in-book negatives need longer texts, or shorter "
            "prefixes and continuations"
        )
    arguments = TrainingArguments(
        output_dir=str(output),
        per_device_train_batch_size=1,  # an example is a minibatch
        train_sampling_strategy="sequential",
        num_train_epochs=1,  # of minibatches: those of all epochs over the passages
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup,
        weight_decay=0.0,
        max_grad_norm=LARGEST_GRADIENT,
        seed=settings.seed,
        bf16=settings.bf16,
        use_cpu=cpu,
        save_steps=settings.checkpoint_steps,
        save_total_limit=2,
        logging_steps=LOGGED,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
    )
    train_on_one_device(arguments)  # a minibatch cannot be split: its rows contrast
    trainer = Trainer(
        model=Contrastive(encoder, settings.micro_batch_size),
        args=arguments,
        train_dataset=Minibatches(passages, negatives, batches),
        data_collator=partial(collate, encoder),
        callbacks=[reporting(report)] if report is not None else [],
    )
    trainer.remove_callback(PrinterCallback)
    checkpoint_folder = last_checkpoint(output)
    result = trainer.train(resume_from_checkpoint=str(checkpoint_folder) if checkpoint_folder else None)
    return result.global_step


def collate(encoder: TrainableEncoder, examples: Sequence[dict[str, list[str]]]) -> dict[str, Tokens]:
    """The tokens of the one minibatch."""
    (minibatch,) = examples
    return {
        "prefixes": encoder.tokens(minibatch["prefixes"], "prefix"),
        "candidates": encoder.tokens(minibatch["candidates"], "suffix"),
    }


def last_checkpoint(folder: Path) -> Path | None:
    """The last one that was written whole: the trainer's state comes last."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{TRAINER_STATE}")]
    return max(whole, key=lambda path: int(path.name.partition("-")[2]), default=None)
