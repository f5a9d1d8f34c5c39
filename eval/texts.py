"""Many texts: made one at a time or in batches, and written to a file that a later run completes."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from counterpoint.decoders.forwards.chats import Chat, Prompt, shown
from counterpoint.eval import generation
from counterpoint.eval.bench.generation import continue_batch
from counterpoint.eval.bench.passages import Passage
from counterpoint.eval.chat import ChatFormat
from counterpoint.eval.choosing import DecoderSpec
from counterpoint.eval.engines import writing
from counterpoint.eval.engines.concurrent import gathered
from counterpoint.eval.engines.served import AnyModel, Served
from counterpoint.eval.generation import Emit, Generated, Request
from counterpoint.eval.journal import Journal, key_of, name_other_releases, record_of, releases
from counterpoint.eval.progress import progress_bar
from counterpoint.eval.revisions import dependencies, revision


@dataclass(frozen=True)
class Texts:
    """What a command asks for: for every prompt, decoder and seed a text."""

    arguments: argparse.Namespace
    loaded: AnyModel
    chats: ChatFormat
    prompts: Sequence[Prompt]
    encoded: Sequence[Request]
    specs: Sequence[DecoderSpec]
    ready: dict[tuple[int, str, int], Generated] = field(default_factory=dict)
    """Texts of batches that are not handed out yet, by prompt, decoder and seed."""

    def seeds(self) -> range:
        """The seed of each text of a prompt."""
        return range(self.arguments.seed, self.arguments.seed + self.arguments.texts)

    def batches(self, size: int) -> Iterator[range]:
        """The numbers of prompts that are continued together, in order; one with images is alone."""
        start = 0
        for stop in range(1, len(self.encoded) + 1):
            last = stop == len(self.encoded)
            if last or stop - start == size or self.encoded[start].inputs or self.encoded[stop].inputs:
                yield range(start, stop)
                start = stop

    @cached_property
    def batch_of(self) -> dict[int, range]:
        """The batch of each prompt."""
        return {number: batch for batch in self.batches(self.arguments.batch_size) for number in batch}

    def text(self, number: int, seed: int, spec: DecoderSpec, emit: Emit) -> Generated:
        """One text, as it comes, or of its batch, which is made when the first of its texts is asked for."""
        if self.arguments.batch_size is None:
            if isinstance(self.loaded, Served):
                written = writing.generate(self.loaded, self.encoded[number], self.arguments.max_new_tokens, seed, spec)
                emit(written.text)
                return written
            one = (self.encoded[number], self.arguments.max_new_tokens, seed, spec, emit)
            return generation.generate(self.loaded, *one)
        key = (number, str(spec), seed)
        if key not in self.ready:
            numbers = self.batch_of[number]
            texts = self.batch(numbers, spec, seed)
            self.ready.update({(each, str(spec), seed): text for each, text in zip(numbers, texts, strict=True)})
        found = self.ready.pop(key)
        emit(found.text)
        return found

    def batch(self, numbers: range, spec: DecoderSpec, seed: int) -> list[Generated]:
        """The texts of prompts that are continued together, or of each where the decoder takes one alone."""
        if isinstance(self.loaded, Served):
            served, most = self.loaded, self.arguments.max_new_tokens
            return gathered(
                lambda number: writing.generate(served, self.encoded[number], most, seed, spec),
                numbers,
                served.endpoint.concurrency,
            )
        if len(numbers) > 1 and not spec.row.batched:
            return [text for number in numbers for text in self.batch(range(number, number + 1), spec, seed)]
        passages = [Passage(each, shown(self.prompts[each]), None, self.encoded[each].ids, self.encoded[each]) for each in numbers]
        begin = time.perf_counter()
        try:
            found = continue_batch(self.loaded, spec, passages, seed, self.arguments.max_new_tokens)
        except ValueError as error:
            raise ValueError(f"decoder {spec}: {error}") from error
        seconds = (time.perf_counter() - begin) / len(found)
        cut = self.chats.marks is not None
        return [Generated(each.text, each.tokens, seconds, {"thinking_text": each.thinking} if cut else {}) for each in found]

    def record(self, number: int, spec: DecoderSpec, seed: int, generated: Generated) -> dict[str, Any]:
        """A text as JSON has it; rep_n are fractions, and null for very short texts, as is diversity."""
        prompt = self.prompts[number]
        return {
            "prompt": shown(prompt),
            **({"messages": prompt.messages} if isinstance(prompt, Chat) else {}),
            "decoder": spec.name,
            "parameters": spec.plain(),
            **({"origins": origins} if (origins := spec.origins()) else {}),
            "text": generated.text,
            "tokens": generated.tokens,
            **generated.measures(),
            **generated.details,
            "seed": seed,
            **self.facts,
        }

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What all texts have in common."""
        return {
            **self.chats.facts(self.prompts),
            **({"stop": self.arguments.stop} if self.arguments.stop else {}),
            "model": self.loaded.name,
            **self.origin,
            "versions": releases() | {"python": platform.python_version()},
        }

    @cached_property
    def origin(self) -> dict[str, Any]:
        """Where the model runs."""
        if isinstance(self.loaded, Served):
            return self.loaded.facts()
        return {"dtype": str(self.loaded.model.dtype).removeprefix("torch."), "device": str(self.loaded.model.device)}

    def write(self, path: Path) -> list[str]:
        """Write the texts that the file lacks, each as a line of JSON; all of them are returned.

        Raises:
            ValueError: If the file is of another command, or of none, or another process writes it.
            OSError: If it cannot be written.
        """
        known = {} if isinstance(self.loaded, Served) else {"revision": revision(self.arguments.model)}
        run = {"max_new_tokens": self.arguments.max_new_tokens, **known, **self.facts}
        told = {name: value for name, value in run.items() if name != "versions"}
        depends_on = {str(spec): dependencies(self.loaded, spec) for spec in self.specs}
        wanted: list[tuple[int, DecoderSpec, int, str]] = []
        for number, prompt in enumerate(self.encoded):
            pictures = {name: key_of(value.tolist()) for name, value in prompt.inputs.items()}
            for spec in self.specs:
                for seed in self.seeds():
                    key = key_of(told, depends_on[str(spec)], number, prompt.ids, pictures, seed)
                    wanted.append((number, spec, seed, key))
        with alone(path):
            check_file(path, told, {key for *_, key in wanted})
            journal = Journal(path)
            name_other_releases(journal.results.values(), str(path))
            written = []
            with progress_bar("text", total=len(wanted), done=len(journal.results)) as bar:
                for number, spec, seed, key in wanted:
                    if key not in journal:
                        generated = self.text(number, seed, spec, lambda _: None)
                        journal.add(key, {**self.record(number, spec, seed, generated), **run})
                        bar.update()
                    written.append(journal[key]["text"])
        return written


def known_as(path: Path) -> str | None:
    """The fingerprint of the served model whose texts a file has; None where it has none."""
    lines = path.read_bytes().split(b"\n") if path.is_file() else []
    return next((str(record["fingerprint"]) for line in lines if (record := record_of(line)) and "fingerprint" in record), None)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """The file has no other writer.

    Raises:
        ValueError: If it has.
    """
    try:
        with FileLock(lock := path.with_name(f".{path.name}.lock"), timeout=0):
            yield
            lock.unlink(missing_ok=True)
    except Timeout as error:
        raise ValueError(f"output={path}: another command is writing it; wait, or name another file") from error


def check_file(path: Path, run: Mapping[str, Any], keys: Container[str]) -> None:
    """Refuse a file that has anything but texts of this command, damaged or not.

    Raises:
        ValueError: If it has; the message says what differs.
    """
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    found = [(number, line, record_of(line)) for number, line in enumerate(lines, 1) if line]
    foreign = [number for number, line, record in found if record is None and not line.startswith(BEGINNING[: len(line)])]
    if foreign and not any(record for _, _, record in found):
        raise ValueError(f"output={path}, line {foreign[0]}: no text of `counterpoint generate`; name another file")
    for number, _, record in found:
        if record is not None and record["key"] not in keys:
            other = next((name for name in run if record.get(name) != run[name]), None)
            names = [other] if other else ["prompt", "decoder", "parameters", "seed"]
            told = ", ".join(f"{name} {json.dumps(record.get(name), ensure_ascii=False)}" for name in names)
            raise ValueError(
                f"output={path}, line {number}: a text of another command ({told}); name another file, or give that command again"
            )


BEGINNING = b'{"key": "'
"""How a line of a :class:`~counterpoint.eval.journal.Journal` begins."""
