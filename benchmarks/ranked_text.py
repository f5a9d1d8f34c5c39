"""What ranking does to text: MAUVE and diversity of samples, of the best of 20, and of ranked search, over several seeds.

Usage: ``python ranked_text.py --output DIR``; the embedded expert continues the passages that come with the package.

One pool of nucleus samples serves all rankers, whose choice is the only difference; its first sample of each prompt is the plain
sampler. All texts end at their last sentence end, as do the references, cut to as many tokens: MAUVE tells other ends apart. Its
features are the embedded expert's, so its figures compare with each other only, and of 200 texts with a spread that the standard
deviation over seeds shows. Writes ``ranked_text.json`` and ``ranked_text.md``.
"""

from __future__ import annotations

import argparse
import json
import re
import warnings
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from statistics import fmean, stdev

import torch
from timing import Results, described, environment_of
from transformers import AutoModelForCausalLM, AutoTokenizer

from counterpoint.eval import EXPERT, diversity
from counterpoint.eval.mauve import mauve_score
from counterpoint.eval.mauve_features import load_featurizer
from counterpoint.rankers import SMALL, ConsensusRanker, LikelihoodRanker, OverlapRanker, Ranker, RankGenRanker, ranked_search

DATA = Path(__file__).parents[1] / "eval" / "data" / "prompts.jsonl"
SAMPLERS = {
    "nucleus": {"top_p": 0.9, "top_k": 0},
    "top-k": {"top_k": 40},
    "typical": {"typical_p": 0.9, "top_k": 0},
}
SEARCH = {"beams": 2, "samples": 10, "tokens_per_round": 20}
COLUMNS = {
    "mauve": "MAUVE",
    "diversity": "diversity",
    "words": "words",
    "whole": "texts that end a sentence",
    "score": "score by the embedded ranker",
}
Choose = Callable[[list[str], list[list[str]]], list[str]]


def whole_sentences(text: str) -> str:
    """Up to the last sentence end, if there is one."""
    return match.group() if (match := re.match(r".*[.!?][\"']?(?=\s|$)", text, flags=re.DOTALL)) else text


def whole(text: str) -> bool:
    """Whether it ends where a sentence does."""
    return text.rstrip()[-1:] in (".", "!", "?", '"', "'")


def told(prompts: list[str], texts: list[str]) -> tuple[list[str], list[list[str]]]:
    """What a ranker takes, without empty texts."""
    return prompts, [[text] if text.strip() else [] for text in texts]


class Writer:
    """A model that continues prompts, a batch of equal length at a time."""

    def __init__(self, name: str, prompts: list[str], new_tokens: int, rows: int) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
        self.prompts, self.new_tokens, self.rows = prompts, new_tokens, rows

    def cut(self, text: str) -> str:
        """As long as what is generated."""
        return whole_sentences(self.tokenizer.decode(self.tokenizer(text).input_ids[: self.new_tokens], skip_special_tokens=True))

    def __call__(self, each: int, **options: object) -> list[list[str]]:
        """For each prompt so many continuations."""
        found: list[list[str]] = []
        for start in range(0, len(self.prompts), size := max(1, self.rows // each)):
            inputs = self.tokenizer(self.prompts[start : start + size], return_tensors="pt", padding=True)
            ids = self.model.generate(
                **inputs, do_sample=True, num_return_sequences=each, max_new_tokens=self.new_tokens, **options
            )
            texts = self.tokenizer.batch_decode(ids[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
            found += [[whole_sentences(text) for text in texts[at : at + each]] for at in range(0, len(texts), each)]
        return found


def best(ranker: Ranker) -> Choose:
    """The candidate of each prompt that the ranker finds best; empty ones are out of the question."""

    def choose(prompts: list[str], pool: list[list[str]]) -> list[str]:
        candidates = [[text for text in texts if text.strip()] for texts in pool]
        return [texts[int(own.argmax())] for texts, own in zip(candidates, ranker.score(prompts, candidates), strict=True)]

    return choose


def main() -> None:
    """Write all texts of a seed, measure them, and go on with the next."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(EXPERT))
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=160)
    parser.add_argument("--output", type=Path, default=Path())
    arguments = parser.parse_args()

    records = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()][: arguments.prompts]
    prompts, references = [record["prompt"] for record in records], [record["reference"] for record in records]
    write = Writer(arguments.model, prompts, arguments.new_tokens, arguments.rows)
    references = [write.cut(reference) for reference in references]
    featurizer, small = load_featurizer(EXPERT), RankGenRanker.from_pretrained(SMALL)
    rankers: dict[str, Ranker] = {
        "embedded ranker": small,
        "unigram overlap": OverlapRanker(),
        "consensus": ConsensusRanker(),
        "likelihood per token": LikelihoodRanker(write.model, write.tokenizer),
        "mutual information": LikelihoodRanker(write.model, write.tokenizer, form="pmi"),
    }
    environment = environment_of(Path(arguments.model).name, "cpu", arguments.new_tokens)
    results = Results(arguments.output / "ranked_text.json", environment, ["prompts", "samples"], table)
    warnings.filterwarnings("ignore", message="MAUVE of")  # said above
    figures: dict[str, dict[str, list[float]]] = {}
    for seed in range(arguments.seeds):
        torch.manual_seed(seed)
        texts = {name: [own[0] for own in write(1, **options)] for name, options in SAMPLERS.items() if name != "nucleus"}
        pool = write(arguments.samples, **SAMPLERS["nucleus"])
        texts = {"nucleus": [own[0] for own in pool], **texts}
        texts |= {f"best of {arguments.samples} by {name}": best(ranker)(prompts, pool) for name, ranker in rankers.items()}
        search = {"custom_generate": ranked_search, "ranker": small, "processing_class": write.tokenizer, **SEARCH}
        texts["human"] = references
        texts["ranked search by embedded ranker"] = [*chain(*write(1, **search, **SAMPLERS["nucleus"]))]
        for name, own in texts.items():
            found = figures.setdefault(name, {key: [] for key in COLUMNS})
            found["mauve"].append(mauve_score(prompts, own, references, "mauve_text", featurizer, seeds=3).mauve)
            found["diversity"].append(diversity(own))
            found["words"].append(fmean(len(text.split()) for text in own))
            found["whole"].append(fmean(whole(text) for text in own))
            found["score"].append(fmean(float(score) for text in small.score(*told(prompts, own)) for score in text))
            print(seed, name, {key: round(values[-1], 3) for key, values in found.items()}, flush=True)
        case = {"prompts": len(prompts), "samples": arguments.samples, "seeds": seed + 1, "figures": figures}
        results.add(case)


def table(cases: list[dict[str, object]], environment: dict[str, object]) -> str:
    """Markdown: mean and standard deviation over seeds."""
    lines = []
    for case in cases:
        figures: dict[str, dict[str, list[float]]] = case["figures"]  # type: ignore[assignment]
        lines += [f"{case['prompts']} prompts, {case['seeds']} seeds: mean ± standard deviation over seeds", ""]
        lines += ["| text | " + " | ".join(COLUMNS.values()) + " |", "|---" * (1 + len(COLUMNS)) + "|"]
        for name, own in figures.items():
            cells = [f"{fmean(values):.3f} ± {stdev(values) if len(values) > 1 else 0:.3f}" for values in own.values()]
            lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join([*lines, "", described(environment)]) + "\n"


if __name__ == "__main__":
    main()
