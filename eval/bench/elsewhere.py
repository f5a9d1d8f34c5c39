"""Texts that were made elsewhere in a benchmark's directory, beside those of this process."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from counterpoint.decoders.choosing.grammar import join_choice, split_choice, unquoted
from counterpoint.decoders.forwards.chats import shown
from counterpoint.eval.bench.passages import Pairs, cut
from counterpoint.eval.bench.records import HUMAN, Record, read_config, read_generations
from counterpoint.eval.directories import written_alone
from counterpoint.eval.journal import key_of, line_of, releases, write_bytes, write_whole, writing
from counterpoint.eval.outputs import Given, Prompts, read_given

NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Maker:
    """What made texts elsewhere.

    Args:
        name: What its texts are called in tables.
        parameters: Its settings, as far as they are told.
        model: The model.
        made_by: The engine, its release and what else is to be kept, in words.
    """

    name: str
    parameters: Mapping[str, Any]
    model: str
    made_by: str

    @classmethod
    def of(cls, label: str, model: str, made_by: str) -> Maker:
        """What a label ``NAME:key=value,...`` names.

        Raises:
            ValueError: If it is none, or a name or word is empty.

        Example:
            >>> from counterpoint.eval.bench.elsewhere import Maker
            >>> Maker.of("vllm_nucleus:top_p=0.9", "org/model", "vLLM 0.32.0").parameters
            {'top_p': 0.9}
        """
        name, pairs = split_choice(label)
        if not NAME.fullmatch(name):
            raise ValueError(f"label={label!r} is no NAME or NAME:key=value,...; a name has letters, digits, '_', '-' and '.'")
        if name == HUMAN:
            raise ValueError(f"label={label!r} is what tables call the references; take another name")
        for option, words in (("model", model), ("made_by", made_by)):
            if not words.strip():
                raise ValueError(f"{option}={words!r} is empty: say what made the texts")
        return cls(name, {key: plain(unquoted(value)) for key, value in pairs}, model, made_by)

    @property
    def label(self) -> str:
        """Its name with its settings."""
        return join_choice(self.name, [(key, str(value)) for key, value in self.parameters.items()])


def plain(value: str) -> Any:
    """A number, true or false as such, and other words as they are."""
    try:
        found = json.loads(value)
    except ValueError:
        return value
    return found if isinstance(found, int | float) else value


def prompts_of(directory: Path) -> Prompts:
    """The prompts that a directory has texts of.

    Raises:
        ValueError: If it has none.
    """
    found = {each["index"]: (each["prompt"], each["reference"]) for each in read_generations(directory)}
    if not found:
        raise ValueError(f"{directory} has no texts yet: run `counterpoint bench` there first")
    return dict(sorted(found.items()))


def begun(pairs: Pairs, model: str, tokenizer: Any, max_new_tokens: int) -> tuple[Record, Prompts]:
    """``config.json`` of a directory in which no text is of this process, and its prompts.

    References are cut as long as texts can be; without a tokenizer they are left out, since nothing could cut them.
    """
    config = {
        "run": {"prompts_sha256": pairs.sha256, "prompt_tokens": None, "max_new_tokens": max_new_tokens},
        "versions": releases(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": model,
        "prompts": pairs.source,
        "decoders": [],
        "num_prompts": len(pairs.rows),
        "num_seeds": 1,
        "metrics": None,
    }
    prompts = {
        index: (shown(prompt), None if tokenizer is None else cut(tokenizer, reference, max_new_tokens))
        for index, (prompt, reference) in enumerate(pairs.rows)
    }
    return config, prompts


def add_texts(directory: Path, content: str, source: str, maker: Maker, new: tuple[Record, Prompts] | None = None) -> list[Given]:
    """Read texts into a directory, in the place of those that were read under the same label before.

    Args:
        directory: A benchmark's, or a new one.
        content: The file of texts.
        source: What complaints call it.
        maker: What made them.
        new: What a new directory begins with (:func:`begun`); None for one that is there.

    Returns:
        The texts.

    Raises:
        ValueError: If a row is wrong, the label is that of a decoder that ran here, or another command writes the directory.
    """
    config, prompts = new or (read_config(directory), prompts_of(directory))
    texts = read_given(content, source, prompts, by_place=config["run"].get("prompt_tokens") is None)
    entry = {
        "decoder": maker.name,
        "label": maker.label,
        "parameters": dict(maker.parameters),
        "model": maker.model,
        "made_by": maker.made_by,
        "seeds": 1 + max(each.sample for each in texts),
        "num_prompts": 1 + max(prompts),
        "task": key_of(maker.label, maker.model, maker.made_by, content),
    }
    with written_alone(directory):
        config = config if new else read_config(directory)
        labels = [each["label"] for each in config["decoders"]]
        if maker.label in labels and "made_by" not in config["decoders"][labels.index(maker.label)]:
            raise ValueError(f"label={maker.label}: {directory} has texts under it that were written here; take another name")
        records = [record_of(each, entry, prompts) for each in texts]
        path = directory / f"generations-{key_of(maker.label)[:12]}.jsonl"
        with writing(path):
            write_bytes(path, b"".join(map(line_of, records)))
        others = [each for each in config["decoders"] if each["label"] != maker.label]
        config |= {"decoders": [*others, entry], "num_seeds": max(config["num_seeds"], entry["seeds"])}
        write_whole(directory / "config.json", json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    return texts


def record_of(given: Given, entry: Mapping[str, Any], prompts: Prompts) -> Record:
    """A text as a benchmark keeps it, without releases, which did not make it."""
    prompt, reference = prompts[given.index]
    return {
        "key": key_of(entry["task"], given.sample, given.index),
        **{name: entry[name] for name in ("task", "decoder", "label", "parameters", "model", "made_by")},
        "seed": given.sample,
        "index": given.index,
        "prompt": prompt,
        "reference": reference,
        "text": given.text,
        "tokens": given.tokens,
        "finished": given.finished,
    }
