"""How often decoders that contrast a prompt with and without its context say what the context says, where it says something new.

Usage: ``python contexts.py --model PATH --dtype float32 --output-dir DIR``; the embedded expert by default. The items are those
of ``eval/data/changed_facts.jsonl``, each under a passage with a changed fact and under the same passage with the fact as it is; a
model with a chat template is asked the question, and its answer begins with the sentence to be completed. Two figures each:

- likelihood: whether the decoder gives what the passage says more probability than the other (of the changed and the true);
- text: whether greedy decoding of at most 8 tokens has it, and not the other before it.

Writes ``contexts_MODEL.jsonl``, a line for each item and decoder, to which a run that was stopped adds what is missing, and
``contexts_MODEL.md``, the shares with 95 % intervals of a bootstrap over items, what each decoder differs from greedy by on the
same items, and in text the adaptive ones from context_aware, on changed and unchanged passages and on both.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common import interval, loaded, options, records_of, written

from counterpoint.decoders import decoder, score
from counterpoint.decoders.choosing.builders import prompt_batch
from counterpoint.decoders.forwards.chats import Chat, Prompt

DATA = Path(__file__).resolve().parents[2] / "eval" / "data" / "changed_facts.jsonl"
DECODERS = (
    "greedy",
    "context_aware:beta=0.5",
    "context_aware:beta=1.0",
    "adacad",
    "adacad:minimum=0.3",
    "coiecd",
)
NEW_TOKENS = 8
Record = dict[str, Any]


def prompt_of(item: Record, key: str, chat: bool) -> Prompt:
    """The passage and what is to be completed, or a chat that asks and begins to answer."""
    passage, sentence = item[key].split("\n\n")
    if not chat:
        return str(item[key])
    asked = {"role": "user", "content": f"{passage}\n\n{item['question']}"}
    return Chat((asked, {"role": "assistant", "content": sentence}))


def says(text: str, wanted: str, other: str) -> bool:
    """Whether a text has what is wanted, and the other not before it."""
    place, wrong = text.find(wanted.strip()), text.find(other.strip())
    return place >= 0 and not 0 <= wrong < place


def judged(model: Any, tokenizer: Any, choice: str, items: Sequence[Record], key: str) -> Iterator[tuple[float, float, str]]:
    """Log-probabilities of the changed and the true continuation of each item, and what greedy decoding writes."""
    prompts = [prompt_of(item, key, bool(tokenizer.chat_template)) for item in items]
    arguments = decoder(choice, model, tokenizer, prompts=prompts)
    pairs = [[item["changed"], item["true"]] for item in items]
    scored = score(model, tokenizer, prompts, pairs, arguments.get("logits_processor"), batch_tokens=2048)
    inputs = prompt_batch(model, tokenizer, prompts)
    ids = model.generate(**inputs, **arguments, max_new_tokens=NEW_TOKENS)
    texts = tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    for (changed, true), text in zip(scored, texts, strict=True):
        yield changed.total, true.total, text


def measure(model: Any, tokenizer: Any, items: Sequence[Record], journal: Path, batch: int) -> list[Record]:
    """A record for each item, kind of passage and decoder, those of an earlier run among them."""
    found = [each for each in records_of(journal) if each["item"] < len(items)]
    done = {(each["decoder"], each["passage"], each["item"]) for each in found}
    for start in range(0, len(items), batch):
        for choice in DECODERS:
            for passage, key in (("changed", "prompt"), ("unchanged", "true_prompt")):
                if (choice, passage, start) in done:
                    continue
                part = items[start : start + batch]
                lines = []
                for place, (changed, true, text) in enumerate(judged(model, tokenizer, choice, part, key)):
                    item = part[place]
                    wanted, other = (item["changed"], item["true"])[:: 1 if passage == "changed" else -1]
                    likelier = changed > true if passage == "changed" else true > changed
                    record = {"decoder": choice, "passage": passage, "item": start + place, "relation": item["relation"]}
                    lines.append({**record, "likelihood": likelier, "text": says(text, wanted, other), "written": text})
                with journal.open("a", encoding="utf-8") as file:
                    file.write("".join(json.dumps(line) + "\n" for line in lines))
                found += lines
    return found


def table(records: Sequence[Record]) -> str:
    """Shares in per cent and differences to greedy in points, with their intervals."""
    lines = ["| decoder | passage | likelihood | less greedy | text | less greedy |", "|---|---|---|---|---|---|"]
    items = len({each["item"] for each in records})
    values: dict[tuple[str, str, str], dict[int, float]] = {}
    for each in records:
        for figure in ("likelihood", "text"):
            values.setdefault((each["decoder"], each["passage"], figure), {})[each["item"]] = float(each[figure])

    def shown(own: Sequence[float], form: str) -> str:
        mean, low, high = (100 * value for value in interval(own))
        return f"{mean:{form}.1f} ({low:{form}.1f} to {high:{form}.1f})"

    for passage in ("changed", "unchanged"):
        for choice in DECODERS:
            cells = []
            for figure in ("likelihood", "text"):
                own, greedy = (values[name, passage, figure] for name in (choice, "greedy"))
                less = "" if choice == "greedy" else shown([own[item] - greedy[item] for item in sorted(own)], "+")
                cells += [shown([own[item] for item in sorted(own)], ""), less]
            lines.append(f"| `{choice}` | {passage} | {' | '.join(cells)} |")
    lines += ["", "| decoder, text | less | changed | unchanged | mean of both |", "|---|---|---|---|---|"]
    for choice in DECODERS[3:]:
        for base in DECODERS[1:3]:
            pairs = [(values[choice, passage, "text"], values[base, passage, "text"]) for passage in ("changed", "unchanged")]
            less = [[own[item] - other[item] for item in sorted(own)] for own, other in pairs]
            both = [sum(pair) / 2 for pair in zip(*less, strict=True)]
            lines.append(f"| `{choice}` | `{base}` | {' | '.join(shown(each, '+') for each in (*less, both))} |")
    return "\n".join([*lines, "", f"{items} items.", ""])


def main() -> None:
    """Measure and write."""
    parser = options(__doc__)
    parser.add_argument("--batch", type=int, default=29)
    arguments = parser.parse_args()
    model, tokenizer = loaded(arguments)
    items = [json.loads(line) for line in DATA.read_text(encoding="utf-8").splitlines()]
    random.Random(0).shuffle(items)  # noqa: S311  so that a part of them is of all relations
    stem = arguments.output_dir / f"contexts_{Path(arguments.model).name}"
    records = measure(model, tokenizer, items[: arguments.limit], stem.with_suffix(".jsonl"), arguments.batch)
    written(stem, table(records))


if __name__ == "__main__":
    main()
