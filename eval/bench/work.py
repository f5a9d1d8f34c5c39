"""The work of a benchmark's run: texts on disk batch by batch, then each decoder's speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any

import torch

from counterpoint.eval.bench.generation import continue_batch
from counterpoint.eval.bench.plan import Batch, pending
from counterpoint.eval.bench.records import read_failures
from counterpoint.eval.bench.run import Run
from counterpoint.eval.bench.speed import REPEATS, measure_speed
from counterpoint.eval.bench.throughput import measure_throughput
from counterpoint.eval.choosing import DecoderSpec
from counterpoint.eval.engines.concurrent import concurrently
from counterpoint.eval.engines.served import Served
from counterpoint.eval.journal import Journal, key_of
from counterpoint.eval.progress import progress_bar
from counterpoint.eval.trimming import TrimmedText


def generate_all(run: Run) -> None:
    """Generate what is not there yet of this process's batches; a decoder that fails is left, and its error kept."""
    done = run.done()
    share = run.share()
    left = pending(share, done)
    total = sum(len(batch.keys) for batch in share)
    journal, failures = Journal(run.file("generations")), Journal(run.file("failures"))
    before = total - sum(len(batch.keys) for batch in left)
    begun, tokens = time.perf_counter(), 0
    with progress_bar("text", total=total, done=before, quiet=quiet(run)) as bar:
        for batch, found in continued(run, left, failures, bar.describe):
            if isinstance(found, OSError):
                raise found  # the disk's or the network's, not the decoder's
            if isinstance(found, Exception):  # of any kind: the other decoders have nothing to do with it
                if batch.task.key not in failures:
                    failures.add(batch.task.key, failure(batch.task.spec, found))
            elif found is not None:
                keep(run, batch, found, journal, done)
                tokens += sum(each.tokens for each in found)
                bar.tell(f"{tokens / (time.perf_counter() - begun):.0f} tokens/s")
            bar.update(len(batch.keys))


def continued(
    run: Run, left: Sequence[Batch], failures: Journal, describe: Callable[[str], object]
) -> Iterator[tuple[Batch, list[TrimmedText] | Exception | None]]:
    """The batches with their texts, or what failed, as they are done: one by one here, several at a time by a server.

    Of a decoder that failed before there is nothing.
    """

    def texts(batch: Batch) -> list[TrimmedText] | None:
        if batch.task.key in failures:
            return None
        describe(batch.task.spec.name)
        return continue_batch(run.loaded, batch.task.spec, batch.passages, batch.seed, run.options.max_new_tokens)

    if isinstance(run.loaded, Served):
        yield from concurrently(texts, left, run.loaded.endpoint.concurrency)
        return
    for batch in left:
        try:
            found: list[TrimmedText] | Exception | None = texts(batch)
        except Exception as error:
            found = error
        yield batch, found


def keep(run: Run, batch: Batch, found: Sequence[TrimmedText], journal: Journal, done: Container[str]) -> None:
    """Write what was missing of a batch."""
    spec = batch.task.spec
    for key, passage, continuation in zip(batch.keys, batch.passages, found, strict=True):
        if key not in done and key not in journal:
            record = {
                "task": batch.task.key,
                "decoder": spec.name,
                "label": str(spec),
                "parameters": spec.plain(),
                "model": run.options.model,
                **{name: value for name, value in run.origin.items() if name not in ("device", "fingerprint")},
                "seed": batch.seed,
                "index": passage.index,
                "prompt": passage.prompt,
                "reference": passage.reference,
                "text": continuation.text,
                "tokens": continuation.tokens,
                "finished": continuation.finished,
                **({"thinking_text": continuation.thinking} if run.chats.marks else {}),
            }
            journal.add(key, record)


def failure(spec: DecoderSpec, error: Exception) -> dict[str, Any]:
    """What is kept of an error."""
    message = str(error) if isinstance(error, ValueError | OSError | ImportError) else f"{type(error).__name__}: {error}"
    return {"decoder": spec.name, "label": str(spec), "error": message}


def time_decoders(run: Run) -> None:
    """Time the decoders that did not fail, unless they were timed on the same batch before."""
    failed = {record["label"] for record in read_failures(run.directory)}
    texts = [passage for passage in run.passages if not (passage.request and passage.request.inputs)]
    batch = texts[: run.options.batch_size] or run.passages[:1]  # images go with one prompt
    journal = Journal(run.directory / "speed.jsonl")
    served = run.loaded if isinstance(run.loaded, Served) else None
    together = torch.get_num_threads() if served is None else f"concurrency {served.endpoint.concurrency}"
    keys = {str(task.spec): key_of(task.key, "speed", [each.facts() for each in batch], together) for task in run.tasks}
    tasks = {str(task.spec): task.key for task in run.tasks}
    left = [task.spec for task in run.tasks if str(task.spec) not in failed and keys[str(task.spec)] not in journal]
    if not left:
        return
    with progress_bar("batch", total=(REPEATS + 1) * (len(left) + 1), quiet=quiet(run), kept="all texts are kept") as bar:

        def tick(name: str) -> None:
            bar.describe(f"speed of {name}")
            bar.update()

        most = run.options.max_new_tokens
        if isinstance(run.loaded, Served):
            records = measure_throughput(run.loaded, left, batch, most, tick)
        else:
            records = measure_speed(run.loaded, left, batch, most, tick)
        for record in records:
            journal.add(keys[record["label"]], {"task": tasks[record["label"]], **record})


def quiet(run: Run) -> bool:
    """Whether this process shows no progress: because it was asked to, or since the main one does."""
    return bool(run.options.quiet) or not run.state.is_main_process
