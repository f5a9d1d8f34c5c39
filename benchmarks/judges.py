"""What judges cost: certainty of what generation kept beside generating it, and a reward model beside a plain loop over batches.

Usage: ``python judges.py --model PATH --output-dir DIR``; the embedded expert by default. Everything is measured in turn, round
after round, in one process:

- *self_certainty* and *confidence* order ``--samples`` texts of ``--new-tokens`` tokens by the logits that ``generate`` kept; the
  ratio is generating and ordering over generating alone, the median over rounds.
- *reward* is a classifier of the same shape with random weights, which reads ``--texts`` answers of different lengths. The plain
  loop writes the chat template, encodes, sorts by length, pads full batches of the same size and calls the model; the ratio is
  texts a second of the ranker over those of the loop, and both have to give the same rewards.

Writes ``judges.json`` and ``judges.md``.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable
from typing import Any

import timing
import torch
from timing import Case, Results, add_to_machines, described, environment_of, load, parsed, text
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from counterpoint.eval import EXPERT
from counterpoint.rankers import ConfidenceRanker, Ranker, RewardModelRanker, SelfCertaintyRanker, rerank

PLAIN = "{% for each in messages %}{{ each.role }}: {{ each.content }}\n{% endfor %}"
OVER = {"self_certainty": "generation", "confidence": "generation", "reward, texts a second": "plain loop over sorted batches"}
"""What each is held against."""


def certainty(model: Any, tokenizer: Any, options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of generating with logits kept, and of ordering by them, in each round."""
    ids = text(model, 1, options.context)
    prefix = tokenizer.decode(ids[0], skip_special_tokens=True)
    rankers: dict[str, Ranker] = {
        "self_certainty": SelfCertaintyRanker(None, tokenizer),
        "confidence": ConfidenceRanker(None, tokenizer, window=16),
    }
    found: dict[str, list[float]] = {name: [] for name in ("generation", *rankers)}
    for number in range(options.rounds):
        torch.manual_seed(number)
        start = timing.now()
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            num_return_sequences=options.samples,
            min_new_tokens=options.new_tokens,
            max_new_tokens=options.new_tokens,
            output_logits=True,
            return_dict_in_generate=True,
        )
        found["generation"].append(timing.now() - start)
        for name, ranker in rankers.items():
            start = timing.now()
            rerank(ranker, prefix, output, tokenizer=tokenizer, prompt_length=ids.shape[1])
            found[name].append(timing.now() - start)
        print(f"round {number + 1} of {options.rounds}:", {name: round(own[-1], 3) for name, own in found.items()}, flush=True)
    return found


@torch.no_grad()
def plain_loop(model: Any, tokenizer: Any, question: str, texts: list[str], batch_size: int) -> Tensor:
    """The rewards of texts by a loop as anybody would write it."""
    chats = [[{"role": "user", "content": question}, {"role": "assistant", "content": each}] for each in texts]
    written = [tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]
    encoded = [tokenizer(each, add_special_tokens=False)["input_ids"] for each in written]
    order = sorted(range(len(texts)), key=lambda place: len(encoded[place]))
    rewards = torch.empty(len(texts))
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        batch = tokenizer.pad({"input_ids": [encoded[place] for place in places]}, padding_side="right", return_tensors="pt")
        rewards[places] = model(**batch.to(model.device)).logits[:, 0].float().cpu()
    return rewards


def reward(tokenizer: Any, options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of the plain loop and of the ranker over the same texts, in each round."""
    torch.manual_seed(0)
    tokenizer.chat_template = tokenizer.chat_template or PLAIN
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):  # where a classifier would look for the text's end
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.bos_token
    config = AutoConfig.from_pretrained(options.model, num_labels=1, pad_token_id=tokenizer.pad_token_id)
    model = AutoModelForSequenceClassification.from_config(config, dtype=getattr(torch, options.dtype)).to(options.device).eval()
    ranker = RewardModelRanker(model, tokenizer, batch_size=options.batch_size)
    chance = random.Random(0)  # noqa: S311
    texts = [" ".join(str(chance.randrange(100)) for _ in range(chance.randint(4, options.longest))) for _ in range(options.texts)]
    found: dict[str, list[float]] = {"plain loop over sorted batches": [], "reward, texts a second": []}
    for number in range(options.rounds):
        start = timing.now()
        plain = plain_loop(model, tokenizer, "Which numbers?", texts, options.batch_size)
        between = timing.now()
        (own,) = ranker.score(["Which numbers?"], [texts])
        found["reward, texts a second"].append(timing.now() - between)
        found["plain loop over sorted batches"].append(between - start)
        torch.testing.assert_close(own, plain, atol=1e-3 if options.dtype == "float32" else 0.1, rtol=0)
        print(f"round {number + 1} of {options.rounds}:", {name: round(own[-1], 3) for name, own in found.items()}, flush=True)
    return found


def measure(options: argparse.Namespace, report: Callable[[Case], None]) -> None:
    """Certainty, then reward."""
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    seconds = certainty(load(options.model, options.dtype, options.device), tokenizer, options)
    generation = seconds["generation"]
    beyond = {
        name: statistics.median((base + own) / base for own, base in zip(seconds[name], generation, strict=True))
        for name in ("self_certainty", "confidence")
    }
    own = reward(tokenizer, options)
    loop, ranked = own.values()
    beyond["reward, texts a second"] = statistics.median(plain / ours for plain, ours in zip(loop, ranked, strict=True))
    report({"dtype": options.dtype, "context": options.context, "seconds": seconds | own, "ratios": beyond})


def table(cases: list[Case], environment: dict[str, Any]) -> str:
    """Markdown: medians and ratios, the machine beneath."""
    lines = ["| dtype | context | what | seconds | over | ratio |", "|---|---|---|---|---|---|"]
    for case in cases:
        for name, times in case["seconds"].items():
            ratio = [OVER[name], f"{case['ratios'][name]:.3f}"] if name in OVER else ["", ""]
            cells = [case["dtype"], case["context"], name, f"{statistics.median(times):.3f}", *ratio]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, "", described(environment)]) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(EXPERT), help="path or id; default: the embedded expert")
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--texts", type=int, default=48, help="answers that the reward model reads")
    parser.add_argument("--longest", type=int, default=40, help="most numbers in an answer")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parsed(parser)
    environment = environment_of(options.model, options.device, options.new_tokens)
    results = Results(options.output_dir / "judges.json", environment, ("dtype", "context"), table)

    def report(case: Case) -> None:
        results.add(case)
        if options.machines:
            shown = {"dtype": case["dtype"], "batch": options.samples, "context": case["context"]}
            sizes = {"reward, texts a second": {"batch": options.batch_size, "context": f"{options.longest} numbers or fewer"}}
            ratios = case["ratios"].items()
            rows = [
                {**shown, **sizes.get(name, {}), "what": name, "over": OVER[name], "ratio": f"{ratio:.2f}"}
                for name, ratio in ratios
            ]
            add_to_machines(environment, rows)

    measure(options, report)
    print(results.markdown())


if __name__ == "__main__":
    main()
