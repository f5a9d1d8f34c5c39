"""Does a ranker choose better than chance? One pool of samples for all rankers, judged by what took no part.

Usage: ``python picks.py DIR --pool nucleus --rankers NAME[:key=value,...] ... --sentence-model PATH --output-dir OUT``, where
``counterpoint bench --decoders nucleus --num-seeds 10 --output-dir DIR`` has written the pool: its seeds are the candidates of a
prompt. Rankers that need a language model get ``--model``. With ``--beside FOLDER`` the texts that other decoders, such as a ranked
search, wrote for the same prompts in that folder are judged as choices are.

The judges compare a candidate with what people wrote there, cut to as many words: by the F1 of their words, and by the cosine of
their mean states in ``--sentence-model``. A ranker's gain is its choice's figure less the mean over the pool, which is what a pick
at random has on average; the best that can be had is the largest of the pool. Intervals are of 95 %, by bootstrap over prompts.
MAUVE of all choices by the embedded expert's features stands beside it: of a few hundred texts it tells large differences only.

Writes ``picks.jsonl``, the scores of a ranker or judge a line for each prompt, to which a run that was stopped adds what is
missing, and ``picks.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean

import torch
from common import interval, records_of, written
from transformers import AutoModel, AutoTokenizer

from counterpoint.eval import building
from counterpoint.eval.bench.records import Record, read_generations
from counterpoint.eval.bench.scores import first_words
from counterpoint.eval.choosing import parse_rankers
from counterpoint.eval.embedded import EXPERT
from counterpoint.eval.loading import Loaded, load
from counterpoint.eval.metrics.mauve import mauve_score
from counterpoint.eval.metrics.mauve_features import load_featurizer
from counterpoint.eval.metrics.representations import mean_pooling
from counterpoint.rankers import NgramF1, rerank
from counterpoint.rankers.ngrams import words

Pool = list[tuple[str, str, list[str]]]
"""Of each prompt the prompt, what people wrote there, and the candidates."""
Score = Callable[[Pool], list[list[float]]]
TOGETHER = 10
"""Prompts whose scores are computed and written at once."""
WORDS, COSINE = "F1 of words", "cosine of states"


def pool_of(records: list[Record]) -> Pool:
    """The samples of each prompt; what people wrote is cut to as many words as the longest has."""
    found: dict[int, Pool] = {}
    for record in records:
        if record["reference"] is not None:
            found.setdefault(record["index"], [(record["prompt"], record["reference"], [])])[0][2].append(record["text"])
    pool = [each[0] for _, each in sorted(found.items())]
    return [(prompt, first_words(human, max(len(words(text)) for text in own)), own) for prompt, human, own in pool]


def beside(records: list[Record], pool: Pool) -> dict[str, Pool]:
    """Of each other decoder its texts for prompts of the pool, in the pool's order."""
    found: dict[str, dict[str, list[str]]] = {}
    for record in records:
        found.setdefault(record["label"], {}).setdefault(record["prompt"], []).append(record["text"])
    return {
        label: [(prompt, human, texts[prompt]) for prompt, human, _ in pool if prompt in texts] for label, texts in found.items()
    }


def by_words(pool: Pool) -> list[list[float]]:
    """The judge by words."""
    return [NgramF1()(texts, [human])[:, 0].tolist() for _, human, texts in pool]


def by_states(path: str) -> Score:
    """The judge by a sentence encoder."""

    @cache
    def embed() -> Callable[[Sequence[str]], torch.Tensor]:
        return mean_pooling(AutoModel.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path))

    def scores(pool: Pool) -> list[list[float]]:
        found = []
        for _, human, texts in pool:
            own, *others = torch.nn.functional.normalize(torch.as_tensor(embed()([human, *texts])), dim=-1)
            found.append([float(own @ other) for other in others])
        return found

    return scores


def by_ranker(choice: str, model: Callable[[], Loaded]) -> Score:
    """A ranker's scores; minus infinity for an empty text."""

    @cache
    def ranker() -> object:
        return building.load_ranker(parse_rankers([choice]), model, None)

    def scores(pool: Pool) -> list[list[float]]:
        written = [[place for place, text in enumerate(texts) if text.strip()] for *_, texts in pool]
        judged = [[texts[place] for place in places] for (*_, texts), places in zip(pool, written, strict=True)]
        found = []
        for ranked, places, (*_, texts) in zip(
            rerank(ranker(), [prompt for prompt, _, _ in pool], judged), written, pool, strict=True
        ):
            own = dict(zip(ranked.order, ranked.scores, strict=True))
            scores = dict(zip(places, (own[at] for at in range(len(places))), strict=True))
            found.append([scores.get(place, -math.inf) for place in range(len(texts))])
        return found

    return scores


def all_scores(tasks: dict[str, tuple[Pool, Score]], journal: Path) -> dict[str, list[list[float]]]:
    """Scores of every text of a task's pool, those of an earlier run among them."""
    found: dict[str, dict[int, list[float]]] = {name: {} for name in tasks}
    for record in records_of(journal):
        found.setdefault(record["by"], {})[record["prompt"]] = record["scores"]
    for name, (pool, score) in tasks.items():
        missing = [place for place in range(len(pool)) if place not in found[name]]
        for start in range(0, len(missing), TOGETHER):
            places = missing[start : start + TOGETHER]
            own = score([pool[place] for place in places])
            found[name] |= dict(zip(places, own, strict=True))
            with journal.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps({"by": name, "prompt": at, "scores": found[name][at]}) + "\n" for at in places)
            print(name, places[-1] + 1, flush=True)
    return {name: [found[name][place] for place in range(len(pool))] for name, (pool, _) in tasks.items()}


def by(judge: str, label: str) -> str:
    """The name under which a judge's scores of another decoder's texts are kept."""
    return f"{judge}: {label}"


def shown(values: Sequence[float], form: str = ".3f") -> str:
    """A mean with its interval over prompts."""
    middle, low, high = interval(values)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def table(
    pool: Pool, scores: dict[str, list[list[float]]], rankers: Sequence[str], judges: Sequence[str], others: dict[str, Pool]
) -> str:
    """What each ranker's choices are worth to each judge, less a choice at random, and their MAUVE."""
    featurizer = load_featurizer(str(EXPERT), dtype="float32")
    prompts, human = [prompt for prompt, _, _ in pool], [reference for _, reference, _ in pool]

    def closeness(texts: list[str]) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there are few is said beside the table
            found = mauve_score(prompts, texts, human, featurizer=featurizer)
        return f"{found.mauve:.3f}" + (f" ({found.interval[0]:.3f} to {found.interval[1]:.3f})" if found.interval else "")

    lines = ["| choice by | " + " | ".join(f"{judge}, more than at random" for judge in judges) + " | MAUVE |"]
    lines.append("|---" * (2 + len(judges)) + "|")
    at_random = [f"{fmean(fmean(own) for own in scores[judge]):.3f} in all" for judge in judges]
    lines.append("| " + " | ".join(["chance (the first sample)", *at_random, closeness([texts[0] for *_, texts in pool])]) + " |")
    for name in rankers:
        picks = [max(range(len(own)), key=own.__getitem__) for own in scores[name]]
        gains = [
            shown([own[pick] - fmean(own) for own, pick in zip(scores[judge], picks, strict=True)], "+.3f") for judge in judges
        ]
        chosen = [texts[pick] for (*_, texts), pick in zip(pool, picks, strict=True)]
        lines.append("| " + " | ".join([f"`{name}`", *gains, closeness(chosen)]) + " |")
    for name, texts in others.items():
        at = [place for place, (prompt, *_) in enumerate(pool) if prompt in {own for own, *_ in texts}]
        gains = [
            shown(
                [fmean(own) - fmean(scores[judge][place]) for own, place in zip(scores[by(judge, name)], at, strict=True)], "+.3f"
            )
            for judge in judges
        ]
        lines.append("| " + " | ".join([f"`{name}`, not a choice, {len(at)} prompts", *gains, ""]) + " |")
    for judge in judges:
        gains = [shown([max(own) - fmean(own) for own in scores[each]], "+.3f") if each == judge else "" for each in judges]
        lines.append("| " + " | ".join([f"the judge itself, by {judge}", *gains, ""]) + " |")
    return "\n".join([*lines, "", f"{len(pool)} prompts, {len(pool[0][2])} samples of each.", ""])


def main() -> None:
    """Score all candidates, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--pool", default="nucleus")
    parser.add_argument("--rankers", nargs="+", default=["small", "overlap", "consensus"])
    parser.add_argument("--model", help="of rankers that need one (default: the model that wrote, by the name it was given)")
    parser.add_argument("--sentence-model", required=True)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--beside", type=Path, help="a folder of `counterpoint bench` with other decoders' texts for these prompts")
    parser.add_argument("--output-dir", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    records = [record for record in read_generations(arguments.directory) if arguments.pool in (record["decoder"], record["label"])]
    if not records:
        parser.error(f"--pool {arguments.pool}: {arguments.directory} has no texts of that decoder")
    pool = pool_of(records)

    @cache
    def model() -> Loaded:
        return load(arguments.model or records[0]["model"], "cpu", arguments.dtype, trust_remote_code=False)

    judges: dict[str, Score] = {WORDS: by_words, COSINE: by_states(arguments.sentence_model)}
    rankers = {name: by_ranker(name, model) for name in arguments.rankers}
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    others = beside(read_generations(arguments.beside), pool) if arguments.beside else {}
    tasks = {name: (pool, score) for name, score in (judges | rankers).items()}
    tasks |= {by(judge, name): (texts, score) for name, texts in others.items() for judge, score in judges.items()}
    text = table(pool, all_scores(tasks, arguments.output_dir / "picks.jsonl"), arguments.rankers, list(judges), others)
    written(arguments.output_dir / "picks", text)


if __name__ == "__main__":
    main()
