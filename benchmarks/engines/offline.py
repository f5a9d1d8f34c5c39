"""The offline ``LLM`` with few blocks, so that requests are preempted: equality, samplers, rankers over its outputs, and cost.

python benchmarks/engines/offline.py FOLDER equality|cost: in vLLM's environment; the first writes references and an adapter there.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"

import torch
from requests_and_texts import PROMPTS, TOKENS, additional_config, cases, compared, make_adapter, references, table
from transformers import AutoModelForCausalLM, AutoTokenizer
from vllm import LLM, SamplingParams
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

from counterpoint.decoders import ContrastiveDecodingLogitsProcessor, PLessLogitsProcessor, TopNSigmaLogitsProcessor
from counterpoint.eval import AMATEUR, EXPERT
from counterpoint.eval.engines.vllm import ContrastProcessor
from counterpoint.rankers import LikelihoodRanker, OverlapRanker, rerank

STEPS = 32
"""Tokens of each text whose cost is measured."""
SPENT = {"batched": 0.0, "row by row": 0.0}
"""Seconds in each processor."""


class Batched(ContrastProcessor):
    """The processor, timed."""

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """As it is."""
        begun = time.perf_counter()
        found = super().apply(logits)
        SPENT["batched"] += time.perf_counter() - begun
        return found


class RowByRow(AdapterLogitsProcessor):
    """The decoder of ``generate``, an object for each request, as vLLM's own wrapper calls it; timed."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.amateur = AutoModelForCausalLM.from_pretrained(AMATEUR, dtype=torch.float32).eval()

    def is_argmax_invariant(self) -> bool:
        """It changes the likeliest token."""
        return False

    def new_req_logits_processor(self, params: SamplingParams) -> Any:
        """A function of the prompt's tokens, those of the output, and a row of logits."""
        if not (params.extra_args or {}).get("row_by_row"):
            return None
        processor = ContrastiveDecodingLogitsProcessor(self.amateur)

        def of_row(prompt: list[int], output: list[int], logits: torch.Tensor) -> torch.Tensor:
            begun = time.perf_counter()
            found: torch.Tensor = processor(torch.tensor([[*prompt, *output]]), logits[None])[0]
            SPENT["row by row"] += time.perf_counter() - begun
            return found

        return of_row


def samplers_keep_to_their_sets(llm: LLM) -> str:
    """How many sampled tokens lie in the sets that the decoders of ``generate`` give their texts."""
    expert = AutoModelForCausalLM.from_pretrained(EXPERT, dtype=torch.float32).eval()
    inside = total = 0
    for name, processor in (("top_n_sigma", TopNSigmaLogitsProcessor()), ("p_less", PLessLogitsProcessor())):
        params = SamplingParams(temperature=1.0, max_tokens=TOKENS, seed=7, extra_args={"decoder": name})
        for output in llm.generate(list(PROMPTS), params, use_tqdm=False):
            prompt, new = list(output.prompt_token_ids), list(output.outputs[0].token_ids)
            with torch.no_grad():
                logits = expert(input_ids=torch.tensor([prompt + new])).logits[0, len(prompt) - 1 : -1].float()
            kept = processor(torch.zeros(len(new), 1, dtype=torch.long), logits) > -torch.inf
            inside += int(kept[torch.arange(len(new)), new].sum())
            total += len(new)
    return f"sampled tokens within the decoders' sets: {inside} of {total}"


def rankers_read_outputs(llm: LLM, tokenizer: Any) -> str:
    """Samples of the engine, put in order as they came."""
    outputs = llm.generate(list(PROMPTS), SamplingParams(n=4, temperature=1.0, max_tokens=24, seed=1), use_tqdm=False)
    by_overlap = rerank(OverlapRanker(), outputs)
    expert = AutoModelForCausalLM.from_pretrained(EXPERT, dtype=torch.float32).eval()
    by_likelihood = rerank(LikelihoodRanker(expert, tokenizer, form="log_likelihood"), outputs, tokenizer=tokenizer)
    for output, one, other in zip(outputs, by_overlap, by_likelihood, strict=True):
        right = one.prefix == other.prefix == output.prompt and sorted(one.order) == sorted(other.order) == [0, 1, 2, 3]
        if not right or list(other.scores) != sorted(other.scores, reverse=True):
            raise SystemExit(f"rerank(ranker, outputs) is wrong of {output}: {one}, {other}")
    return f"rerank(ranker, outputs): {len(outputs)} prompts of 4 texts, by overlap and by likelihood of the tokens"


def preemptions(llm: LLM) -> int:
    """How often a request has been preempted so far."""
    return sum(int(each.value) for each in llm.get_metrics() if each.name == "vllm:num_preemptions")


def cost(llm: LLM) -> None:
    """Milliseconds of each processor for a row and step, on the same prompts."""
    print("| rows | batched | row by row | ratio |\n|---|---|---|---|")
    for rows in (1, 4, 16):
        prompts = [f"{PROMPTS[0]} {place}" for place in range(rows)]
        spent = {}
        for name, fields in (
            ("batched", {"decoder": "contrastive_decoding", "amateur": "small"}),
            ("row by row", {"row_by_row": 1}),
        ):
            for tokens in (2, STEPS):
                SPENT[name] = 0.0
                params = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, extra_args=fields)
                llm.generate(prompts, params, use_tqdm=False)
            spent[name] = 1e3 * SPENT[name] / rows / STEPS
        one, other = spent["batched"], spent["row by row"]
        print(f"| {rows} | {one:.2f} ms | {other:.2f} ms | {other / one:.1f} |", flush=True)


def main(folder: Path, what: str) -> int:
    """All of it, with a table at the end."""
    adapter, tokenizer = folder / "adapter", AutoTokenizer.from_pretrained(EXPERT)
    few = {"max_num_seqs": 4, "block_size": 32, "num_gpu_blocks_override": 9} if what == "equality" else {"max_num_seqs": 16}
    if what == "equality":
        make_adapter(adapter)
        expected = references(adapter)
        (folder / "references.json").write_text(json.dumps(list(expected.values())))
    llm = LLM(
        model=str(EXPERT),
        dtype="float32",
        enforce_eager=True,
        max_model_len=256,
        disable_log_stats=False,
        enable_prefix_caching=False,
        logits_processors=[Batched, RowByRow],
        additional_config=additional_config(adapter),
        **few,
    )
    if what == "cost":
        cost(llm)
        return 0
    params = [SamplingParams(temperature=0, max_tokens=TOKENS, extra_args=case.fields) for case in cases()]
    outputs = llm.generate([case.prompt for case in cases()], params, use_tqdm=False)
    found = {case: list(output.outputs[0].token_ids) for case, output in zip(cases(), outputs, strict=True)}
    equal = compared(found, expected, tokenizer.eos_token_id)
    print(table(equal))
    print(f"preemptions: {preemptions(llm)}")
    print(samplers_keep_to_their_sets(llm))
    print(rankers_read_outputs(llm, tokenizer))
    return int(not all(one for each in equal.values() for one in each) or not preemptions(llm))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
