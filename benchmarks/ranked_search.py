"""Ranked search against plain sampling of as many tokens, and against the algorithm as RankGen's authors released it.

Usage: ``python ranked_search.py --model PATH --prompts 1 4 --context 16 256 --output-dir DIR``; the embedded expert by default.

Every case times all three in turn, round after round, in one process, with the paper's settings (two beams, ten samples, twenty
tokens a round, 115 tokens, nucleus 0.9) and without EOS, so that all sample the same number of tokens:

- sampling: ``generate(num_return_sequences=beams * samples)``;
- ranked search: ``custom_generate=ranked_search``;
- as released: written anew after its description. Prompt by prompt and beam by beam, the text of prompt and beam is tokenised and
  read from its beginning in every round.

The ranker is a checksum of the text, so that what a ranker costs is left out. Ratios are medians over rounds of times of one round.
Writes ``ranked_search.json`` and ``ranked_search.md``.
"""

from __future__ import annotations

import argparse
import statistics
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from timing import Case, Results, described, environment_of, load
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.eval import EXPERT
from counterpoint.rankers import Ranker, ranked_search
from counterpoint.rankers.base import CandidateScorer

BEAMS, SAMPLES, ROUND, NUCLEUS = 2, 10, 20, 0.9
PROSE = (
    "When the ship had left the harbour the captain came on deck and looked for a long time at the sea. The wind was fair, the men "
    "were at their work, and nobody spoke of what had happened in the night. Only the old cook, who had seen more voyages than all "
    "of them together, shook his head and said that no good would come of it. "
)


class Checksum(Ranker):
    """Scores as good as random, and as good as free."""

    comparable = True

    def prepare(self, prefixes: Sequence[str]) -> CandidateScorer:
        """See :class:`~counterpoint.rankers.Ranker`."""
        return lambda candidates: [torch.tensor([float(zlib.crc32(text.encode()) % 9973) for text in own]) for own in candidates]


Search = Callable[[list[str]], None]


class Methods:
    """The three ways to write continuations of some prompts."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, new_tokens: int) -> None:
        self.model, self.tokenizer, self.new_tokens = model, tokenizer, new_tokens
        self.sampling: dict[str, Any] = {
            "do_sample": True,
            "top_p": NUCLEUS,
            "top_k": 0,
            "eos_token_id": None,
            "pad_token_id": tokenizer.pad_token_id or 0,
        }

    def inputs(self, texts: list[str]) -> Any:
        """What ``generate`` takes."""
        return self.tokenizer(texts, return_tensors="pt", padding=len(texts) > 1, padding_side="left").to(self.model.device)

    def sample(self, texts: list[str]) -> None:
        """Plain sampling of as many texts as a round of the search has candidates."""
        self.model.generate(
            **self.inputs(texts), num_return_sequences=BEAMS * SAMPLES, max_new_tokens=self.new_tokens, **self.sampling
        )

    def search(self, texts: list[str]) -> None:
        """The library's."""
        self.model.generate(
            **self.inputs(texts),
            custom_generate=ranked_search,
            ranker=Checksum(),
            processing_class=self.tokenizer,
            beams=BEAMS,
            candidates=SAMPLES,
            tokens_per_round=ROUND,
            max_new_tokens=self.new_tokens,
            **self.sampling,
        )

    def released(self, texts: list[str]) -> None:
        """The released algorithm, less its defects: lengths are counted in tokens sampled."""
        for text in texts:
            beams, length = [""] * BEAMS, 0
            judge = Checksum().scorer([text])
            while length < self.new_tokens:
                step = min(ROUND, self.new_tokens - length)
                candidates: list[str] = []
                for beam in beams:
                    inputs = self.inputs([text + beam])
                    ids = self.model.generate(**inputs, num_return_sequences=SAMPLES, max_new_tokens=step, **self.sampling)
                    new = self.tokenizer.batch_decode(ids[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
                    candidates += [beam + more for more in new]
                scores = judge([candidates])[0]
                beams = [candidates[index] for index in scores.topk(BEAMS).indices.tolist()]
                length += step


def seconds(method: Search, texts: list[str], device: str) -> float:
    """What one call takes."""
    start = time.perf_counter()
    method(texts)
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def prompts(tokenizer: PreTrainedTokenizerBase, count: int, context: int) -> list[str]:
    """Texts of about that many tokens."""
    ids = tokenizer(PROSE * (1 + context // 20)).input_ids
    return [tokenizer.decode(ids[start : start + context], skip_special_tokens=True) for start in range(1, count + 1)]


def measure(arguments: argparse.Namespace, name: str, report: Callable[[Case], None]) -> None:
    """All cases of a model, each reported as soon as it is measured."""
    model, tokenizer = load(name, arguments.dtype, arguments.device), AutoTokenizer.from_pretrained(name)
    methods = Methods(model, tokenizer, arguments.new_tokens)
    ways: dict[str, Search] = {"sampling": methods.sample, "ranked search": methods.search, "as released": methods.released}
    for count in arguments.prompts:
        for context in arguments.context:
            texts = prompts(tokenizer, count, context)
            rounds: dict[str, list[float]] = {way: [] for way in ways}
            methods.new_tokens = ROUND + 1  # to warm up
            for method in ways.values():
                method(texts)
            methods.new_tokens = arguments.new_tokens
            for _ in range(arguments.rounds):
                for way, method in ways.items():
                    rounds[way].append(seconds(method, texts, arguments.device))
            sampling, search, released = rounds.values()
            report(
                {
                    "model": Path(name).name,
                    "dtype": arguments.dtype,
                    "prompts": count,
                    "context": context,
                    "seconds": rounds,
                    "search_over_sampling": statistics.median(a / b for a, b in zip(search, sampling, strict=True)),
                    "released_over_search": statistics.median(a / b for a, b in zip(released, search, strict=True)),
                }
            )


def table(cases: list[Case], environment: dict[str, Any]) -> str:
    """Markdown: medians and ratios, the machine beneath."""
    lines = [
        "| model | dtype | prompts | context | sampling s | ranked search s | as released s | search / sampling "
        "| released / search |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        cells = [case[name] for name in ("model", "dtype", "prompts", "context")]
        cells += [f"{statistics.median(times):.2f}" for times in case["seconds"].values()]
        cells += [f"{case[name]:.2f}" for name in ("search_over_sampling", "released_over_search")]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, "", described(environment)]) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=[str(EXPERT)], help="paths or ids; default: the embedded expert")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--prompts", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--context", type=int, nargs="+", default=[16, 256])
    parser.add_argument("--new-tokens", type=int, default=115)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="processor threads; default: torch's")
    parser.add_argument("--output-dir", type=Path, default=Path())
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    environment = environment_of("", arguments.device, arguments.new_tokens)
    del environment["model"]  # several models share the file
    results = Results(arguments.output_dir / "ranked_search.json", environment, ("model", "dtype", "prompts", "context"), table)
    for name in arguments.model:
        measure(arguments, name, results.add)
    print(results.markdown())


if __name__ == "__main__":
    main()
