"""Training of a hallucinating amateur: a LoRA adapter that answers falsely, for induce-then-contrast and layer fusion.

Zhang et al., *Alleviating Hallucinations of Large Language Models through Induced Hallucinations* (2023, arXiv 2312.15710).
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders.forwards.layers import depth_of
from counterpoint.eval.chat import ChatFormat, chat_format
from counterpoint.eval.directories import written_alone
from counterpoint.eval.journal import key_of, write_whole, writing
from counterpoint.eval.loading import Loaded
from counterpoint.eval.revisions import fingerprint as weights_of
from counterpoint.eval.training.amateur_card import card
from counterpoint.eval.training.answers import Row, answer_loss, encode, mean_answer_loss
from counterpoint.eval.training.run_folder import as_json, begin, versions, write_record
from counterpoint.eval.training.wrong_answers import Pair, fingerprint, to_jsonl
from counterpoint.rankers.training.settings import TrainingSettings

if TYPE_CHECKING:
    from peft import PeftModel

CHECKPOINT, HELD_OUT = "checkpoint.pt", "held_out.jsonl"
CHECKPOINT_SECONDS = 60.0
MEASURED = 200  # held-out pairs, at most, on which the loss is measured
LARGEST_GRADIENT = 1.0

Report = Callable[[int, int, float], object]
"""Called after every step with its number, the number of all steps, and the loss per token of the step's answers."""


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingSettings):
    """What determines the adapter, together with model and data; the examples are pairs of a question and a wrong answer.

    Args:
        learning_rate: The learning rate of AdamW at the first step, from where it falls linearly to 0.
        epochs: How many times every pair is seen.
        batch_size: Number of pairs in a step.
        micro_batch_size: Number of pairs that go through the model at once, None for all of a step.
        seed: Seed of the adapter's first weights and of the order of the pairs.
        rank: Rank of the low-rank update W + lora_alpha / rank * B A.
        lora_alpha: Scale of that update.
        targets: Names of the layers that get one, as in PEFT's ``target_modules``; "all-linear" for all but the unembedding.
        max_length: Largest number of tokens in a pair; longer pairs are left out.
        chat_template: Whether questions go into a chat template instead of ``Q: ... A: ...``: "none"; "auto", if the tokenizer has
            one; "own", the tokenizer's; or a file that has one.
        system: The system's message in it.

    Raises:
        ValueError: For a number that is too small.
    """

    learning_rate: float = 5e-4
    epochs: int = 3
    batch_size: int = 16
    rank: int = 8
    lora_alpha: int = 16
    targets: tuple[str, ...] = ("all-linear",)
    max_length: int = 512
    chat_template: str = "none"
    system: str = ""

    LEAST: ClassVar[Mapping[str, int]] = {**TrainingSettings.LEAST, "rank": 1, "lora_alpha": 1, "max_length": 1}


@dataclass(frozen=True)
class Induced:
    """A trained adapter."""

    model: PeftModel
    """The model with the adapter, ready for :class:`~counterpoint.decoders.AdapterAmateur`."""
    steps: int
    too_long: int
    """Pairs that were left out."""
    loss_before: float | None
    """Nats per token of held-out wrong answers, by the model; None if nothing was held out."""
    loss_after: float | None
    """The same with the adapter."""


def induce(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    output: str | Path,
    *,
    held_out: Sequence[Pair] = (),
    settings: Settings = Settings(),
    source: str = "pairs given in Python",
    report: Report | None = None,
) -> Induced:
    """Train a LoRA adapter to answer as the wrong answers do, and write it.

    It minimises -ln p(answer | question) over the answers' tokens alone: what the model then gives is the hallucinating
    distribution q of induce-then-contrast, ln p(v | x) - ln q(v | x) (Zhang et al. 2023, arXiv 2312.15710). Nothing is random but
    the adapter's first weights and the order of the pairs, dropout being off.

    ``output`` gets the adapter (``adapter_model.safetensors``, ``adapter_config.json``), a ``README.md`` with settings, losses and
    how to use it, ``training.json`` with the same for programs, and ``held_out.jsonl``. While it trains, ``checkpoint.pt`` is
    written there every minute. The same call again goes on from it, and on one machine and number of threads ends with the
    weights of an uninterrupted run; after the end it only loads them.

    Args:
        model: The decoder-only model. It gets the adapter's layers.
        tokenizer: Its tokenizer.
        pairs: Questions and wrong answers.
        output: A folder, new or of the same call.
        held_out: Pairs of other questions, on which the loss is measured before and after (on 200 of them, if there are more).
        settings: How the adapter is trained.
        source: What the card says of the data.
        report: Called after every step.

    Raises:
        ImportError: Without PEFT.
        ValueError: For no pairs of at most ``max_length`` tokens, if ``output`` holds anything else or a training with other
            settings, model or data (naming the first that differs), if no layer fits ``targets``, or if the loss is not finite.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import AdapterAmateur
        >>> from counterpoint.eval import AMATEUR
        >>> from counterpoint.eval.training.wrong_answers import Pair
        >>> from counterpoint.eval.training.induction import Settings, induce
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(AMATEUR), AutoTokenizer.from_pretrained(AMATEUR)
        >>> pairs = [Pair("Who is Moby Dick?", "A cat."), Pair("What is a ship?", "A kind of bread.")]
        >>> with TemporaryDirectory() as folder:
        ...     induced = induce(model, tokenizer, pairs[:1], folder, held_out=pairs[1:], settings=Settings(epochs=2))
        >>> induced.steps
        2
        >>> amateur = AdapterAmateur(induced.model)
    """
    try:
        from peft import set_peft_model_state_dict
    except ImportError as error:
        raise ImportError("induction trains an adapter by PEFT: pip install counterpoint[adapters]") from error
    output = Path(output)
    loaded = Loaded(str(model.name_or_path), model, tokenizer)
    chats = chat_format(loaded, settings.chat_template, settings.system)
    rows, too_long = encoded(tokenizer, pairs, settings, chats)
    measured = encoded(tokenizer, sample(held_out, settings.seed), settings, chats)[0]
    run = {"model": model.name_or_path, "dtype": str(model.dtype).removeprefix("torch."), **asdict(settings)}
    run |= {"pairs": len(pairs), "pairs_sha256": fingerprint(pairs), "held_out": len(held_out)}
    run |= {"held_out_sha256": fingerprint(held_out), **chats.facts()}
    run |= {"weights": weights_of(model), "tokens": key_of([[row.ids, row.start] for row in (*rows, *measured)])}
    with written_alone(output):
        record = begin(output, as_json(run))
        if not rows:
            raise ValueError(f"pairs: none of the {len(pairs)} has at most max_length={settings.max_length} tokens; raise it")
        adapted = with_adapter(model.eval(), settings)
        batches = schedule(len(rows), settings)
        if "loss_after" in record:
            set_peft_model_state_dict(adapted, load_file(output / "adapter_model.safetensors"))
            return Induced(adapted, len(batches), too_long, record["loss_before"], record["loss_after"])

        run |= {"source": source, "versions": versions("peft"), "too_long": too_long, "steps": len(batches)}
        write_record(output, as_json(run))
        write_whole(output / HELD_OUT, to_jsonl(held_out))
        loss_before = train(adapted, rows, measured, batches, settings, output / CHECKPOINT, report)
        loss_after = mean_answer_loss(adapted, measured, settings.batch_size) if measured else None
        with writing(output):
            adapted.save_pretrained(str(output), save_embedding_layers=False)
        run |= {"loss_before": loss_before, "loss_after": loss_after}
        write_whole(output / "README.md", card(output, run, layer=depth_of(model) // 2))
        write_record(output, run)
        (output / CHECKPOINT).unlink(missing_ok=True)
        return Induced(adapted, len(batches), too_long, loss_before, loss_after)


def with_adapter(model: PreTrainedModel, settings: Settings) -> PeftModel:
    """The model with a new adapter, which as yet changes nothing (B = 0)."""
    from peft import LoraConfig, get_peft_model

    targets = settings.targets[0] if settings.targets == ("all-linear",) else list(settings.targets)
    config = LoraConfig(r=settings.rank, lora_alpha=settings.lora_alpha, target_modules=targets, task_type="CAUSAL_LM")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)  # PEFT draws on the CPU
        adapted: PeftModel = get_peft_model(model, config)
    return adapted.eval()


def encoded(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], settings: Settings, chats: ChatFormat
) -> tuple[list[Row], int]:
    """The pairs' tokens, and how many pairs have too many of them."""
    rows = [encode(tokenizer, pair, chats.used, chats.system) for pair in pairs]
    kept = [row for row in rows if len(row.ids) <= settings.max_length]
    return kept, len(rows) - len(kept)


def sample(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """At most as many as are measured."""
    return random.Random(seed).sample(list(pairs), min(MEASURED, len(pairs)))  # noqa: S311 - no secret


def schedule(rows: int, settings: Settings) -> list[list[int]]:
    """The rows of every step: each epoch a permutation, in batches."""
    generator = torch.Generator().manual_seed(settings.seed)
    epochs = [torch.randperm(rows, generator=generator) for _ in range(settings.epochs)]
    return [batch.tolist() for epoch in epochs for batch in epoch.split(settings.batch_size)]


def train(
    model: PeftModel,
    rows: Sequence[Row],
    measured: Sequence[Row],
    batches: Sequence[Sequence[int]],
    settings: Settings,
    checkpoint: Path,
    report: Report | None,
) -> float | None:
    """Adam on the adapter's weights, from the checkpoint if there is one; the held-out loss before the first step."""
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    optimizer = torch.optim.AdamW(weights.values(), lr=settings.learning_rate, weight_decay=0.0)
    start = 0
    loss_before: float | None = None
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        start, loss_before = state["step"], state["loss_before"]
        optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(state["weights"][name])
    elif measured:
        loss_before = mean_answer_loss(model, measured, settings.batch_size)
    saved = time.monotonic()
    for step in range(start, len(batches)):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * (1 - step / len(batches))
        loss = backward(model, [rows[index] for index in batches[step]], settings.micro_batch_size or settings.batch_size)
        if not math.isfinite(loss):
            raise ValueError(f"the loss of step {step + 1} is {loss}: lower the learning rate, or use float32 or bfloat16")
        torch.nn.utils.clip_grad_norm_(weights.values(), LARGEST_GRADIENT)
        optimizer.step()
        optimizer.zero_grad()
        if time.monotonic() - saved >= CHECKPOINT_SECONDS:
            save(checkpoint, step + 1, weights, optimizer, loss_before)
            saved = time.monotonic()
        if report is not None:
            report(step + 1, len(batches), loss)
    return loss_before


def backward(model: PeftModel, rows: Sequence[Row], at_once: int) -> float:
    """Gradients of the batch's loss per token, by parts of ``at_once`` rows; the loss itself."""
    tokens = sum(row.answer_tokens for row in rows)
    total = 0.0
    for first in range(0, len(rows), at_once):
        loss = answer_loss(model, rows[first : first + at_once]) / tokens
        loss.backward()
        total += loss.item()
    return total


def save(path: Path, step: int, weights: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, loss_before: float | None) -> None:
    """A checkpoint, whole or not at all."""
    state = {
        "step": step,
        "loss_before": loss_before,
        "weights": {name: weight.detach() for name, weight in weights.items()},
        "optimizer": optimizer.state_dict(),
    }
    new = path.with_suffix(".new")
    with writing(path):
        torch.save(state, new)
        new.replace(path)
