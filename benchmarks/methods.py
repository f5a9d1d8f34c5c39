"""What further contrasts and judges cost over what they cannot do without, each ratio from one process, turn by turn.

Usage: ``python methods.py --model PATH --dtype bfloat16 --output FILE``; the embedded expert by default. Time a new token, after
the prompt, is the median over rounds; a ratio is the median of the rounds' ratios.

- adacad and coiecd over context_aware, and decore over greedy search, on the model;
- visual_contrastive over greedy search, on a LLaVA of random weights with a language model of 12 layers;
- self-certainty and confidence of eight samples over sampling them, by the logits that were kept;
- texts a second of a reward model of random weights over a plain loop of full batches sorted by length;
- consensus by chrF of 256 texts, all pairs over the mean of references.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timing import Clock, described, environment_of, load, per_token, text
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlamaForSequenceClassification,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from counterpoint.decoders import (
    AdaCADLogitsProcessor,
    COIECDLogitsProcessor,
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    DeCoReLogitsProcessor,
    InputsAmateur,
    diffusion_noise,
    extrapolation,
)
from counterpoint.eval import EXPERT
from counterpoint.rankers import (
    ChrF,
    ConfidenceRanker,
    ConsensusRanker,
    Ranker,
    RewardModelRanker,
    SelfCertaintyRanker,
    rerank,
)

Row = tuple[str, str, float, str]
"""What, over what, the ratio, and the target."""


def in_turn(cases: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The milliseconds of each case in every round, after one that is not counted."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(rounds + 1):
        for name, run in cases.items():
            taken = run()
            if number:
                found[name].append(taken)
    return found


def ratio(found: Mapping[str, list[float]], one: str, other: str) -> float:
    """The median over rounds of one's time over the other's."""
    return statistics.median(a / b for a, b in zip(found[one], found[other], strict=True))


def token_time(model: Any, inputs: Mapping[str, Any], processors: list[Any], new_tokens: int) -> float:
    """Milliseconds between tokens."""
    clock = Clock()
    ends: dict[str, Any] = {"eos_token_id": None, "pad_token_id": 0, "do_sample": False}
    model.generate(**inputs, **ends, logits_processor=processors, max_new_tokens=new_tokens, streamer=clock)
    return per_token(clock.stamps)


def contrasts(model: Any, new_tokens: int, rounds: int) -> list[Row]:
    """On a prompt of 128 tokens and its second half."""
    ids = text(model, 1, 128)
    other, inputs = {"input_ids": ids[:, 64:]}, {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    heads = [(layer, 0) for layer in range(0, int(model.config.num_hidden_layers), 3)]
    processors: dict[str, list[Any]] = {
        "greedy": [],
        "context_aware": [ContextAwareLogitsProcessor(model, other)],
        "adacad": [AdaCADLogitsProcessor(model, other)],
        "coiecd": [COIECDLogitsProcessor(model, other)],
        "decore": [DeCoReLogitsProcessor(model, heads)],
    }
    found = in_turn({name: partial(token_time, model, inputs, each, new_tokens) for name, each in processors.items()}, rounds)
    return [
        ("context_aware", "greedy", ratio(found, "context_aware", "greedy"), "2.1"),
        ("adacad", "context_aware", ratio(found, "adacad", "context_aware"), "1.03"),
        ("coiecd", "context_aware", ratio(found, "coiecd", "context_aware"), "1.03"),
        ("decore", "greedy", ratio(found, "decore", "greedy"), "2.05"),
    ]


def visual(new_tokens: int, rounds: int) -> list[Row]:
    """On a picture of 49 places."""
    torch.manual_seed(0)
    seeing = CLIPVisionConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, image_size=56, patch_size=8
    )
    writing = LlamaConfig(
        vocab_size=8192, hidden_size=576, intermediate_size=1536, num_hidden_layers=12, num_attention_heads=9, num_key_value_heads=3
    )
    model: Any = LlavaForConditionalGeneration(LlavaConfig(vision_config=seeing, text_config=writing, image_token_id=8191)).eval()
    ids = torch.tensor([[5, *[8191] * 49, 6, 7, 8]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": torch.randn(1, 3, 56, 56)}
    noised = {**inputs, "pixel_values": diffusion_noise(inputs["pixel_values"])}
    processor = ContrastiveDecodingLogitsProcessor(InputsAmateur(model, noised), form=partial(extrapolation, beta=1.0))
    cases = {"greedy": [], "visual": [processor]}
    found = in_turn({name: partial(token_time, model, inputs, each, new_tokens) for name, each in cases.items()}, rounds)
    return [("visual_contrastive, LLaVA of random weights", "greedy", ratio(found, "visual", "greedy"), "2.05")]


def certainty(model: Any, tokenizer: Any, new_tokens: int, rounds: int) -> list[Row]:
    """Eight samples, and what reading their logits adds."""
    inputs = tokenizer("The old captain looked at the sea and", return_tensors="pt")
    width, rows = inputs["input_ids"].shape[1], []
    rankers: dict[str, Ranker] = {
        "self_certainty": SelfCertaintyRanker(None, tokenizer),
        "confidence": ConfidenceRanker(None, tokenizer),
    }
    found: dict[str, list[float]] = {name: [] for name in rankers}
    for number in range(rounds + 1):
        torch.manual_seed(number)
        keep: dict[str, Any] = {"output_logits": True, "return_dict_in_generate": True, "num_return_sequences": 8}
        start = time.perf_counter()
        output = model.generate(**inputs, do_sample=True, top_k=0, max_new_tokens=new_tokens, min_new_tokens=new_tokens, **keep)
        sampled = time.perf_counter() - start
        for name, ranker in rankers.items():
            start = time.perf_counter()
            rerank(ranker, "The old captain looked at the sea and", output, tokenizer=tokenizer, prompt_length=width)
            if number:
                found[name].append(1 + (time.perf_counter() - start) / sampled)
    rows += [(name, "sampling alone", statistics.median(found[name]), "1.03") for name in rankers]
    return rows


def reward(rounds: int) -> list[Row]:
    """Texts a second of 96 texts, over a loop of batches of eight sorted by length."""
    torch.manual_seed(0)
    tokenizer: Any = AutoTokenizer.from_pretrained(EXPERT)
    sizes: dict[str, int] = dict(hidden_size=256, intermediate_size=768, num_hidden_layers=6, num_attention_heads=4)
    config = LlamaConfig(vocab_size=len(tokenizer), num_labels=1, pad_token_id=tokenizer.pad_token_id, **sizes)
    model: Any = LlamaForSequenceClassification(config).eval()
    texts = [" the old sea" * (2 + 7 * number % 31) for number in range(96)]
    texts = [f"{each} {number}" for number, each in enumerate(texts)]
    ranker = RewardModelRanker(model, tokenizer, template=False, batch_size=8)

    def by_ranker() -> float:
        start = time.perf_counter()
        ranker.score(["The captain"], [texts])
        return time.perf_counter() - start

    @torch.no_grad()
    def by_loop() -> float:
        start = time.perf_counter()
        ordered = sorted((f"The captain{each}" for each in texts), key=len)
        for begin in range(0, len(ordered), 8):
            model(**tokenizer(ordered[begin : begin + 8], padding=True, return_tensors="pt")).logits[:, 0].tolist()
        return time.perf_counter() - start

    found = in_turn({"ranker": by_ranker, "loop": by_loop}, rounds)
    return [("texts a second of reward", "a plain loop", 1 / ratio(found, "ranker", "loop"), "at least 0.9")]


def chrf(tokenizer: Any, model: Any) -> list[Row]:
    """All pairs of 256 texts over the mean of references."""
    torch.manual_seed(0)
    inputs = tokenizer("The king said that", return_tensors="pt")
    ids = model.generate(**inputs, do_sample=True, top_p=0.9, top_k=0, num_return_sequences=256, max_new_tokens=20)
    texts = [each or "?" for each in tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)]
    taken = []
    for aggregate in (False, True):
        start = time.perf_counter()
        ConsensusRanker(utility=ChrF(), aggregate=aggregate).score(["?"], [texts])
        taken.append(time.perf_counter() - start)
    return [("consensus by chrF of 256 texts, all pairs", "the mean of references", taken[0] / taken[1], "at least 20")]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(EXPERT))
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    model, tokenizer = load(arguments.model, arguments.dtype, "cpu"), AutoTokenizer.from_pretrained(arguments.model)
    lines = ["| what | over | ratio | target |", "|---|---|---|---|"]
    for rows in (
        lambda: contrasts(model, arguments.new_tokens, arguments.rounds),
        lambda: certainty(model, tokenizer, arguments.new_tokens, arguments.rounds),
        lambda: reward(arguments.rounds),
        lambda: visual(arguments.new_tokens, arguments.rounds),
        lambda: chrf(AutoTokenizer.from_pretrained(EXPERT), load(str(EXPERT), "float32", "cpu")),
    ):
        lines += [f"| {what} | {over} | {found:.3g} | {target} |" for what, over, found, target in rows()]
        written = "\n".join([*lines, "", described(environment_of(arguments.model, "cpu", arguments.new_tokens)), ""])
        if arguments.output:
            arguments.output.write_text(written, encoding="utf-8")
    print(written)


if __name__ == "__main__":
    main()
