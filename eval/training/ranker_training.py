"""Training of a ranker from plain texts: passages, negatives, training, accuracy on held-out texts, and its card."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState  # type: ignore[import-untyped]

from counterpoint.eval.directories import written_alone
from counterpoint.eval.journal import key_of, write_whole, writing
from counterpoint.eval.loading import Loaded
from counterpoint.eval.metrics.resampling import bootstrap, interval
from counterpoint.eval.revisions import fingerprint, revision
from counterpoint.eval.training.generated_negatives import generate_negatives
from counterpoint.eval.training.ranker_card import card
from counterpoint.eval.training.run_folder import as_json, begin, read_record, versions, write_record
from counterpoint.rankers.base import Ranker
from counterpoint.rankers.rankgen.rankgen import RankGenRanker
from counterpoint.rankers.training.continuation_choice import ContinuationChoice, choices, picked, write_choices
from counterpoint.rankers.training.contrastive_training import DEFAULTS, Settings, train
from counterpoint.rankers.training.passages import Passage, check_passages, passages
from counterpoint.rankers.training.settings import check_least
from counterpoint.rankers.training.trainable_encoders import half, load_encoder, load_ranker

HELD_OUT = "held_out.jsonl"
CONFIDENCE = 0.95

Documents = Mapping[str, str]
"""Texts by their names."""

Report = Callable[[str, int, int, float | None], object]
"""Called as work is done: with what it is, how much is done of how much, and the loss if there is one."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """How texts become passages, negatives and choices.

    Args:
        prefix_words: Largest number of words in a prefix.
        continuation_words: Smallest and largest number of words in a continuation.
        passages: Number of passages to train on, drawn by the seed if there are more; None for all.
        negatives: Number of generated continuations of each passage; 0 for in-book negatives alone.
        top_p: Probability of the nucleus that they are sampled from.
        choices: Largest number of held-out prefixes on which the ranker is measured.
        wrong: Number of wrong continuations of each kind beside the true one.

    Raises:
        ValueError: For a number that is too small.
    """

    prefix_words: int = 256
    continuation_words: tuple[int, int] = (10, 128)
    passages: int | None = None
    negatives: int = 1
    top_p: float = 0.9
    choices: int = 200
    wrong: int = 4

    def __post_init__(self) -> None:
        check_least(self, {"prefix_words": 1, "passages": 2, "negatives": 0, "choices": 1, "wrong": 1})
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p!r}: a share above 0, 1 at most, is needed")
        shortest, longest = self.continuation_words
        if not 1 <= shortest <= longest:
            raise ValueError(f"continuation_words={self.continuation_words!r}: the least, 1 or more, and then the most are needed")


@dataclass(frozen=True)
class Accuracy:
    """How often the true continuation was picked."""

    mean: float
    low: float
    """Lower end of the 95 % bootstrap interval over prefixes."""
    high: float
    """Its upper end."""

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"


@dataclass(frozen=True)
class Trained:
    """The outcome of a training."""

    passages: int
    without_negatives: int
    """Passages for which no attempt at a negative gave a whole sentence."""
    steps: int
    measured: int
    """Held-out prefixes."""
    before: dict[str, Accuracy]
    """Accuracy of the encoder as it was, "in_book" and "generated"; empty if nothing was held out."""
    after: dict[str, Accuracy]
    """Accuracy of the trained encoder."""
    main_process: bool
    """Whether this process is the one to speak, of several."""


def train_ranker(
    model: str,
    documents: Documents,
    output: Path,
    *,
    held_out: Documents = {},  # noqa: B006 - not changed
    generator: Loaded | None = None,
    data: Data = Data(),
    settings: Settings = DEFAULTS,
    half_precision: bool = False,
    cpu: bool = False,
    report: Report | None = None,
) -> Trained:
    """Train an encoder as a ranker of continuations, and write it to ``output``.

    Prefixes and continuations are passages of the documents, and the loss contrasts each true continuation with others of the same
    document and with generated ones (Krishna et al., *RankGen*, 2022, arXiv 2205.09726;
    :func:`~counterpoint.rankers.training.info_nce.info_nce`). ``output`` gets the ranker, its card, ``training.json``, the
    generated texts, and ``held_out.jsonl``, the choices by which the ranker was measured. The same call again goes on after an
    interruption; after the end it only reads the figures.

    Args:
        model: What :func:`~counterpoint.rankers.training.trainable_encoders.load_encoder` takes.
        documents: Texts to learn from.
        output: A folder, new or of the same call.
        held_out: Texts to measure the ranker on.
        generator: The causal language model that writes negatives; None if there shall be none.
        data: How the texts become passages, negatives and choices.
        settings: How the encoder is trained.
        half_precision: Whether a RankGen is stored as float16 (it loads as float32).
        cpu: Whether to leave an accelerator alone.
        report: Called as work is done.

    Raises:
        ImportError: If ``model`` needs sentence-transformers, and there are none.
        OSError: If there is no such model.
        ValueError: If there are too few passages to train on or to measure with; if ``output`` holds anything else or a training
            with other settings, model or data (naming the first that differs); if ``data`` wants negatives without a generator.
    """
    if (generator is None) != (data.negatives == 0):
        raise ValueError(f"negatives={data.negatives} with generator={generator and generator.name}: negatives=0 goes with None")
    check_passages(documents, prefix_words=data.prefix_words, continuation_words=data.continuation_words, seed=settings.seed)
    state = PartialState(cpu=cpu)
    run: dict[str, Any] = {"model": model, "generator": generator and generator.name, "half_precision": half_precision}
    run |= {"documents": len(documents), "held_out": len(held_out), **asdict(data), **asdict(settings)}
    run |= {"texts": key_of(list(documents.values())), "held_out_texts": key_of(list(held_out.values()))}
    run |= {"weights": revision(model), "generator_weights": generator and fingerprint(generator.model)}
    found, held = cut(documents, data, settings.seed), cut(held_out, data, settings.seed)
    run |= {"passages_found": len(found), "held_out_passages_found": len(held)}
    run = {**as_json(run), "versions": versions()}
    with written_alone(output, state=state):
        with state.main_process_first():
            record = begin(output, {name: value for name, value in run.items() if name != "versions"})
            encoder = None if "after" in record else load_encoder(model, settings.seed)  # before the folder is this training's
            if not record:
                write_record(output, run)
        if encoder is None:
            return trained(record)

        kept = drawn(found, data.passages, settings.seed)

        def negatives(of: Sequence[Passage], folder: str, count: int) -> list[list[str]]:
            if generator is None:
                return [[] for _ in of]
            what = "negatives" if folder == "negatives" else "held-out negatives"
            return generate_negatives(
                generator.model,
                generator.tokenizer,
                of,
                output / folder,
                count=count,
                shortest=data.continuation_words[0],
                top_p=data.top_p,
                seed=settings.seed,
                report=(lambda done, of_all: report(what, done, of_all, None)) if report else None,
            )

        contrasted = negatives(kept, "negatives", data.negatives)
        measured = drawn(held, data.choices, settings.seed)
        chosen = choices(held, measured, negatives(measured, "held_out_negatives", data.wrong), data.wrong, generator is not None)
        if held_out and not chosen:
            raise ValueError(
                f"wrong={data.wrong}: none of {len(measured)} held-out passages has so many wrong continuations of each kind; "
                "hold out longer texts, or lower it"
            )
        with writing(output):
            steps = train(
                encoder,
                kept,
                contrasted,
                output,
                settings,
                cpu=cpu,
                report=(lambda step, of_all, loss: report("training", step, of_all, loss)) if report else None,
            )
        if state.is_main_process:
            with writing(output):
                encoder.save(output)
                if half_precision:
                    half(output)
            write_choices(chosen, output / HELD_OUT)
            run |= {"passages_used": len(kept), "without_negatives": sum(len(own) < data.negatives for own in contrasted)}
            run |= {"steps": steps, "measured": len(chosen), "processes": state.num_processes}
            untrained = load_encoder(model, settings.seed).as_ranker()
            run["before"] = {kind: asdict(value) for kind, value in accuracies(untrained, chosen).items()}
            ranker = load_ranker(output)
            run["after"] = {kind: asdict(value) for kind, value in accuracies(ranker, chosen).items()}
            name = type(ranker).__name__
            call = f"{name}.from_pretrained" if isinstance(ranker, RankGenRanker) else name
            write_whole(output / "README.md", card(output, run, call))
            write_record(output, run)
            for folder in output.glob("checkpoint-*"):
                shutil.rmtree(folder)
        state.wait_for_everyone()
        return trained(read_record(output))


def cut(documents: Documents, data: Data, seed: int) -> list[Passage]:
    """The passages of all documents."""
    return [
        passage
        for name, text in documents.items()
        for passage in passages(name, text, prefix_words=data.prefix_words, continuation_words=data.continuation_words, seed=seed)
    ]


def drawn(found: Sequence[Passage], count: int | None, seed: int) -> list[Passage]:
    """At most so many passages, in their order."""
    if count is None or count >= len(found):
        return list(found)
    return [found[index] for index in sorted(random.Random(seed).sample(range(len(found)), count))]  # noqa: S311 - no secret


def accuracies(ranker: Ranker, chosen: Sequence[ContinuationChoice]) -> dict[str, Accuracy]:
    """A ranker's accuracy for each kind of wrong continuations that the choices have."""
    kinds = [kind for kind in ("in_book", "generated") if chosen and getattr(chosen[0], kind)]
    return {kind: accuracy(picked(ranker, chosen, kind)) for kind in kinds}


def accuracy(outcomes: Sequence[float]) -> Accuracy:
    """The mean of outcomes, with its interval."""
    values = torch.tensor([[[value, 1.0] for value in outcomes]], dtype=torch.float64)
    bounds = interval(bootstrap(values, lambda sums: sums[..., 0] / sums[..., 1]), CONFIDENCE)
    mean = sum(outcomes) / len(outcomes)
    low, high = bounds if bounds is not None else (mean, mean)
    return Accuracy(mean, low, high)


def trained(record: Mapping[str, Any]) -> Trained:
    """What ``training.json`` records."""
    before, after = ({kind: Accuracy(**value) for kind, value in record[when].items()} for when in ("before", "after"))
    return Trained(
        record["passages_used"],
        record["without_negatives"],
        record["steps"],
        record["measured"],
        before,
        after,
        PartialState().is_main_process,
    )
