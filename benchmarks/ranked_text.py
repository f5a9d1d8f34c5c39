"""What ranking does to text: MAUVE and diversity of samples, of the best of 20, and of ranked search, over several seeds.

Usage: ``python ranked_text.py --output-dir DIR``; the embedded expert continues the passages that come with the package.

One pool of nucleus samples serves all rankers, whose choice is the only difference; its first sample of each prompt is the plain
sampler. Ranked search has two beams of half as many samples, and so samples as many tokens. All texts end at their last sentence
end, as do the references, cut to as many tokens: MAUVE tells other ends apart. *Human, further on* is what follows the references,
and shows what MAUVE another text as good as they are has. Features are the embedded expert's unless ``--featurizer`` names another,
so figures compare with each other only, and of 200 texts with a spread that the standard deviation over seeds shows. The last
column is of differences to nucleus, seed by seed. Writes ``ranked_text.json`` and ``ranked_text.md`` after every seed; the same
call goes on after the last.
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
from timing import Results, described, environment_of, load
from transformers import AutoTokenizer

from counterpoint.eval import EXPERT, diversity
from counterpoint.eval.metrics.mauve import mauve_score
from counterpoint.eval.metrics.mauve_features import load_featurizer
from counterpoint.rankers import (
    SMALL,
    ConsensusRanker,
    LikelihoodRanker,
    OverlapRanker,
    Ranker,
    RankGenRanker,
    SentenceTransformerRanker,
    ranked_search,
)

DATA = Path(__file__).parents[1] / "eval" / "data" / "prompts.jsonl"
SAMPLERS = {
    "nucleus": {"top_p": 0.9, "top_k": 0},
    "top-k": {"top_k": 40},
    "typical": {"typical_p": 0.9, "top_k": 0},
}
BEAMS, ROUND = 2, 20
COLUMNS = {
    "mauve": "MAUVE",
    "diversity": "diversity",
    "words": "words",
    "whole": "texts that end a sentence",
    "score": "score by the embedded ranker",
}
PLAIN = "nucleus"
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

    def __init__(self, name: str, dtype: str, prompts: list[str], new_tokens: int, rows: int) -> None:
        self.model = load(name, dtype, "cpu")
        self.tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
        self.prompts, self.new_tokens, self.rows = prompts, new_tokens, rows

    def cut(self, text: str, part: int = 0) -> str:
        """So many tokens of a text as are generated: the first of them, or what follows them."""
        first = part * self.new_tokens
        ids = self.tokenizer(text).input_ids[first : first + self.new_tokens]
        return whole_sentences(self.tokenizer.decode(ids, skip_special_tokens=True))

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
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"], help="of the model that writes")
    parser.add_argument("--sentence-model", help="a bi-encoder of sentence-transformers, as one more ranker")
    parser.add_argument("--featurizer", default=str(EXPERT), help="whose features MAUVE compares, in bfloat16 unless the expert's")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--num-candidates", type=int, default=20)
    parser.add_argument("--num-seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=160)
    parser.add_argument("--output-dir", type=Path, default=Path())
    arguments = parser.parse_args()

    records = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()][: arguments.limit]
    prompts, human = [record["prompt"] for record in records], [record["reference"] for record in records]
    write = Writer(arguments.model, arguments.dtype, prompts, arguments.new_tokens, arguments.rows)
    references, later = ([write.cut(text, part) for text in human] for part in (0, 1))
    featurizer = load_featurizer(arguments.featurizer, dtype="float32" if arguments.featurizer == str(EXPERT) else "bfloat16")
    small = RankGenRanker.from_pretrained(SMALL)
    searches: dict[str, Ranker] = {"embedded ranker": small}
    if arguments.sentence_model:
        name = Path(arguments.sentence_model).name
        searches[name] = SentenceTransformerRanker(arguments.sentence_model, device="cpu")
    rankers: dict[str, Ranker] = {
        **searches,
        "unigram overlap": OverlapRanker(),
        "consensus": ConsensusRanker(),
        "likelihood per token": LikelihoodRanker(write.model, write.tokenizer),
        "mutual information": LikelihoodRanker(write.model, write.tokenizer, form="pmi"),
    }
    environment = environment_of(Path(arguments.model).name, "cpu", arguments.new_tokens)
    environment |= {"dtype": arguments.dtype, "features": Path(arguments.featurizer).name}
    results = Results(arguments.output_dir / "ranked_text.json", environment, ["prompts", "samples"], table)
    warnings.filterwarnings("ignore", message="MAUVE of")  # said above
    wanted = {"prompts": len(prompts), "samples": arguments.num_candidates}
    before = next((case for case in results.cases if wanted.items() <= case.items()), {"seeds": 0, "figures": {}})
    figures: dict[str, dict[str, list[float]]] = before["figures"]
    for seed in range(before["seeds"], arguments.num_seeds):
        torch.manual_seed(seed)
        texts = {name: [own[0] for own in write(1, **options)] for name, options in SAMPLERS.items() if name != PLAIN}
        pool = write(arguments.num_candidates, **SAMPLERS[PLAIN])
        texts = {PLAIN: [own[0] for own in pool], **texts, "human": references, "human, further on": later}
        texts |= {f"best of {arguments.num_candidates} by {name}": best(ranker)(prompts, pool) for name, ranker in rankers.items()}
        for name, ranker in searches.items():
            search = {"beams": BEAMS, "candidates": arguments.num_candidates // BEAMS, "tokens_per_round": ROUND, "ranker": ranker}
            found = write(1, custom_generate=ranked_search, processing_class=write.tokenizer, **search, **SAMPLERS[PLAIN])
            texts[f"ranked search by {name}"] = [*chain(*found)]
        for name, own in texts.items():
            values = figures.setdefault(name, {key: [] for key in COLUMNS})
            values["mauve"].append(
                mauve_score(prompts, own, references, protocol="mauve_text", featurizer=featurizer, seeds=3).mauve
            )
            values["diversity"].append(diversity(own))
            values["words"].append(fmean(len(text.split()) for text in own))
            values["whole"].append(fmean(whole(text) for text in own))
            values["score"].append(fmean(float(score) for text in small.score(*told(prompts, own)) for score in text))
            print(seed, name, {key: round(numbers[-1], 3) for key, numbers in values.items()}, flush=True)
        results.add({**wanted, "seeds": seed + 1, "figures": figures})


def table(cases: list[dict[str, object]], environment: dict[str, object]) -> str:
    """Markdown: mean and standard deviation over seeds."""
    lines = []
    for case in cases:
        figures: dict[str, dict[str, list[float]]] = case["figures"]  # type: ignore[assignment]
        lines += [f"{case['prompts']} prompts, {case['seeds']} seeds: mean ± standard deviation over seeds", ""]
        lines += ["| text | " + " | ".join(COLUMNS.values()) + " | MAUVE less that of nucleus |", "|---" * (2 + len(COLUMNS)) + "|"]
        plain = figures[PLAIN]["mauve"]
        for name, own in figures.items():
            differences = [one - other for one, other in zip(own["mauve"], plain, strict=True)]
            cells = [
                f"{fmean(values):.3f} ± {stdev(values) if len(values) > 1 else 0:.3f}" for values in (*own.values(), differences)
            ]
            lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join([*lines, "", described(environment)]) + "\n"


if __name__ == "__main__":
    main()
