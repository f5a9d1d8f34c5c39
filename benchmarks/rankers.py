"""How often rankers pick the true continuation: among texts that a model has generated, and among other passages of the same book.

Usage: ``python rankers.py --corpus DIR/heldout.jsonl --sentence-model all-MiniLM-L6-v2 --output-dir DIR``, where the corpus is what
``embedded/corpus.py`` held out. The default generator, the embedded expert, has not seen it.

A prefix has up to ``--prefix-words`` words, its true continuation up to ``--continuation-words``, both of whole sentences
(``counterpoint.rankers.training.passages``). Negatives are samples by nucleus sampling (p = 0.9), cut at the end of a sentence to
at most as many words as the true one might have had; or the continuations of other prefixes of the book. *Pairs* is the share of
negatives that the true continuation beats, *first* that of prefixes where it beats all of them; what ties counts in part.
Intervals are of 95 %, by bootstrap over prefixes. Writes ``rankers.json`` and ``rankers.md``, and the samples to
``generated.json``, where another run with the same settings finds them: rankers can be added.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timing import Case, Results, described, environment_of, load
from torch import Tensor
from transformers import AutoTokenizer, set_seed

from counterpoint.eval import AMATEUR, EXPERT
from counterpoint.eval.metrics.resampling import bootstrap, interval
from counterpoint.rankers import (
    CombinedRanker,
    ConsensusRanker,
    EmbeddingCosine,
    LikelihoodRanker,
    NgramF1,
    OverlapRanker,
    Ranker,
    RankGenRanker,
    SentenceTransformerRanker,
)
from counterpoint.rankers.training.passages import Passage, passages, whole_sentences

NOVELS = ("emma", "mansfieldpark", "moby-dick", "northangerabbey", "persuasion", "prideprejudice", "sensesensibility")
TOP_P = 0.9


def read_passages(arguments: argparse.Namespace) -> list[Passage]:
    """All passages of the corpus; a document's name is its book's."""
    documents = [json.loads(line) for line in arguments.corpus.read_text(encoding="utf-8").splitlines()]
    limits: Any = dict(prefix_words=arguments.prefix_words, continuation_words=(10, arguments.continuation_words))
    return [
        passage
        for document in documents
        if document["source"] in arguments.sources
        for passage in passages(document["source"], document["text"].replace("\n", "\n\n"), **limits)
        if len(passage.prefix.split()) > arguments.prefix_words / 2
    ]


def generated(model: Any, tokenizer: Any, passage: Passage, arguments: argparse.Namespace) -> list[str]:
    """Samples that continue a prefix, of whole sentences; those without one are left out."""
    inputs = tokenizer(passage.prefix, return_tensors="pt").to(model.device)
    output = model.generate(
        **inputs,
        do_sample=True,
        top_p=TOP_P,
        top_k=0,
        temperature=1.0,
        max_new_tokens=arguments.new_tokens,
        num_return_sequences=arguments.candidates,
        pad_token_id=tokenizer.eos_token_id,
    )
    new = tokenizer.batch_decode(output[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
    return [text for sample in new if (text := whole_sentences(sample, 1, passage.longest)).strip()]


def kept(path: Path, environment: dict[str, Any], make: Callable[[], list[list[str]]]) -> list[list[str]]:
    """The samples of an earlier run with the same settings, or new ones, for the next."""
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["environment"] == environment:
            return list(before["texts"])
    texts = make()
    path.write_text(json.dumps({"environment": environment, "texts": texts}), encoding="utf-8")
    return texts


def in_book(passage: Passage, every: list[Passage], candidates: int) -> list[str]:
    """True continuations of other prefixes of the same book."""
    others = [one.continuation for one in every if one.document == passage.document and one != passage]
    return random.Random(passage.prefix).sample(others, candidates)  # noqa: S311 - no secret


def rankers(arguments: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Ranker]]]:
    """Names of rankers, and how each is made."""
    yield "unigram overlap", OverlapRanker
    yield "bigram overlap", partial(OverlapRanker, 2)
    yield "consensus, unigrams", ConsensusRanker
    yield "consensus, bigrams", lambda: ConsensusRanker(utility=NgramF1(n=2))
    informations: list[Callable[[], Ranker]] = []
    for path in (arguments.model, *arguments.other):
        model, tokenizer = load(path, arguments.dtype, arguments.device), AutoTokenizer.from_pretrained(path)
        for form in ("log_likelihood", "per_token", "pmi"):
            judge = partial(LikelihoodRanker, model, tokenizer, form=form)
            yield f"{form}, {Path(path).name}", judge
        informations.append(judge)
    if arguments.sentence_model:
        sentence = SentenceTransformerRanker(arguments.sentence_model, device=arguments.device)
        name = Path(arguments.sentence_model).name
        yield name, lambda: sentence
        yield f"consensus, {name}", lambda: ConsensusRanker(utility=EmbeddingCosine(sentence))
        yield f"pmi, {Path(arguments.model).name} + {name}", lambda: CombinedRanker([informations[0](), sentence])
    for path in arguments.rankgen:
        yield f"RankGen, {Path(path).name}", partial(RankGenRanker.from_pretrained, path)


def wins(scores: Tensor) -> tuple[float, float]:
    """Of the first candidate: the share of the others that it beats, and whether it beats all, ties in part."""
    own, others = scores[0], scores[1:]
    pairs = ((own > others).double() + 0.5 * (own == others).double()).mean()
    first = float(own >= others.max()) / (1 + int((own == others).sum()))
    return float(pairs), first


def accuracy(ranker: Ranker, found: list[Passage], negatives: list[list[str]]) -> dict[str, Any]:
    """Both shares and their intervals."""
    rows = []
    for passage, others in zip(found, negatives, strict=True):
        if others:
            (scores,) = ranker.score([passage.prefix], [[passage.continuation, *others]])
            rows.append((*wins(scores), 1 / (1 + len(others)), 1.0))
    values = torch.tensor([rows], dtype=torch.float64)
    result: dict[str, Any] = {"prefixes": len(rows), "chance": float(values[0, :, 2].mean())}
    for column, name in enumerate(("pairs", "first")):
        drawn = bootstrap(values[..., [column, 3]], lambda sums: sums[..., 0] / sums[..., 1])
        result[name] = [float(values[0, :, column].mean()), *(interval(drawn, 0.95) or ())]
    return result


def measure(arguments: argparse.Namespace, environment: dict[str, Any], report: Callable[[Case], None]) -> None:
    """All rankers on both kinds of negatives, each reported as soon as it is measured."""
    every = read_passages(arguments)
    found = every[:: max(1, len(every) // arguments.prefixes)][: arguments.prefixes]

    def sample() -> list[list[str]]:
        set_seed(arguments.seed)
        model, tokenizer = load(arguments.model, arguments.dtype, arguments.device), AutoTokenizer.from_pretrained(arguments.model)
        return [generated(model, tokenizer, passage, arguments) for passage in found]

    kinds = {
        "generated": kept(arguments.output_dir / "generated.json", environment, sample),
        "in the book": [in_book(passage, every, arguments.candidates) for passage in found],
    }
    for name, make in rankers(arguments):
        for kind, negatives in kinds.items():
            report({"negatives": kind, "ranker": name, **accuracy(make(), found, negatives)})


def table(cases: list[Case], environment: dict[str, Any]) -> str:
    """Markdown: percent with intervals, the setting beneath."""
    lines = ["| negatives | ranker | pairs | first | by chance | prefixes |", "|---|---|---|---|---|---|"]
    for case in cases:
        shares = ["{:.1f} ({:.1f}–{:.1f})".format(*(100 * value for value in case[name])) for name in ("pairs", "first")]
        cells = [case["negatives"], case["ranker"], *shares, f"{100 * case['chance']:.1f}", case["prefixes"]]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, "", described(environment)]) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True, help="heldout.jsonl of embedded/corpus.py")
    parser.add_argument("--sources", nargs="+", default=NOVELS, help="default: the novels")
    parser.add_argument("--model", default=str(EXPERT), help="generates, and judges by likelihood; default: the embedded expert")
    parser.add_argument("--other", nargs="*", default=[str(AMATEUR)], help="language models that judge by likelihood as well")
    parser.add_argument("--sentence-model", help="a bi-encoder of sentence-transformers")
    parser.add_argument("--rankgen", nargs="*", default=[], help="RankGen checkpoints")
    parser.add_argument("--prefixes", type=int, default=200)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--prefix-words", type=int, default=150)
    parser.add_argument("--continuation-words", type=int, default=70)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"], help="of the language models")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, help="processor threads; default: torch's")
    parser.add_argument("--output-dir", type=Path, default=Path())
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    environment = environment_of(arguments.model, arguments.device, arguments.new_tokens)
    settings = ("prefixes", "candidates", "prefix_words", "continuation_words", "seed", "dtype")
    environment |= {name.replace("_", " "): getattr(arguments, name) for name in settings}
    results = Results(arguments.output_dir / "rankers.json", environment, ("negatives", "ranker"), table)
    measure(arguments, environment, results.add)
    print(results.markdown())


if __name__ == "__main__":
    main()
