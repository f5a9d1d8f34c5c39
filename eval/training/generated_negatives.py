"""Continuations that a model writes, for a ranker to tell from the true ones."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState  # type: ignore[import-untyped]
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders.forwards.encoding import encode_prompt
from counterpoint.decoders.forwards.ragged import padded
from counterpoint.decoders.hf.configuration import context_length
from counterpoint.eval.journal import Journal, key_of, read_records, writing
from counterpoint.eval.revisions import fingerprint, tokenizer_fingerprint
from counterpoint.rankers.continuation_texts import continuation_text
from counterpoint.rankers.ngrams import words
from counterpoint.rankers.training.passages import Passage, whole_sentences

ROUNDS = 4  # attempts at a continuation that holds a whole sentence
MARGIN = 1.25  # tokens generated, over what the prefixes' own tokens per word ask for

Wanted = tuple[int, int]
"""A passage's index, and the number of one of its negatives."""


def generate_negatives(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    passages: Sequence[Passage],
    folder: Path,
    *,
    count: int = 1,
    shortest: int = 10,
    top_p: float = 0.9,
    batch_size: int = 128,
    seed: int = 0,
    report: Callable[[int, int], object] | None = None,
) -> list[list[str]]:
    """Continuations of every passage's prefix by nucleus sampling, cut to whole sentences as the true one is.

    Krishna et al., *RankGen* (2022, arXiv 2205.09726), section 3: generated negatives by nucleus sampling with p = 0.9. A text is
    the longest run of whole sentences within the words that the true continuation may have had; where there is none it is sampled
    anew, three times at most. Every batch is written to ``folder`` when it is there, so that the same call goes on after a kill
    with the texts of an uninterrupted one. Processes that ``accelerate launch`` started share the batches; they all get all texts.

    Args:
        model: The causal language model that writes.
        tokenizer: Its tokenizer.
        passages: What is continued.
        folder: Folder of the files ``negatives-*.jsonl``, one a process.
        count: Number of negatives for each passage.
        shortest: Smallest number of words in a negative.
        top_p: Probability of the nucleus that is sampled from.
        batch_size: Number of texts that are sampled together.
        seed: Seed of the samples.
        report: Called after every batch with the numbers of texts done and wanted in this round, of all processes.

    Returns:
        For every passage its negatives: ``count`` of them, or fewer where no attempt gave a whole sentence.
    """
    state = PartialState()
    journal = Journal(folder / f"negatives-{state.process_index}.jsonl")
    settings: dict[str, Any] = {"model": fingerprint(model), "tokenizer": tokenizer_fingerprint(tokenizer)}
    settings |= {"device": model.device.type, "top_p": top_p, "seed": seed, "shortest": shortest}
    found: dict[Wanted, str] = {}
    for attempt in range(ROUNDS):
        batches = in_batches(
            [(i, n) for i in range(len(passages)) for n in range(count) if (i, n) not in found], passages, batch_size
        )
        keys = [key_of(settings, attempt, [(passages[i].prefix, passages[i].longest, n) for i, n in batch]) for batch in batches]
        known = texts_in(folder)
        done = sum(key in known for key in keys)
        missing = [index for index, key in enumerate(keys) if key not in known]
        state.wait_for_everyone()  # before anyone adds
        for index in missing[state.process_index :: state.num_processes]:
            batch = [passages[i] for i, _ in batches[index]]
            with torch.random.fork_rng():
                torch.manual_seed(int(keys[index][:15], 16))
                journal.add(keys[index], {"texts": sampled(model, tokenizer, batch, shortest, top_p)})
            done += state.num_processes
            if report is not None:
                report(min(done, len(batches)), len(batches))
        state.wait_for_everyone()
        known = texts_in(folder)
        if not known.keys() >= {*keys}:
            with writing(folder):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        for batch_, key in zip(batches, keys, strict=True):
            found |= {wanted: text for wanted, text in zip(batch_, known[key], strict=True) if text}
    return [[found[i, n] for n in range(count) if (i, n) in found] for i in range(len(passages))]


def in_batches(wanted: Sequence[Wanted], passages: Sequence[Passage], batch_size: int) -> list[list[Wanted]]:
    """Texts of about the same length together."""
    ordered = sorted(wanted, key=lambda one: (passages[one[0]].longest, one))
    return [ordered[first : first + batch_size] for first in range(0, len(ordered), batch_size)]


def texts_in(folder: Path) -> dict[str, list[str]]:
    """The texts of all batches that processes have written, by the batches' keys."""
    return {record["key"]: record["texts"] for record in read_records(folder, "negatives-*.jsonl")}


@torch.no_grad()
def sampled(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch: Sequence[Passage], shortest: int, top_p: float
) -> list[str]:
    """A continuation of each prefix, in whole sentences; "" where there is none."""
    rows = [encode_prompt(tokenizer, passage.prefix) for passage in batch]
    read = sum(len(words(passage.prefix)) for passage in batch)
    new = math.ceil(MARGIN * max(passage.longest for passage in batch) * sum(map(len, rows)) / read)
    context = context_length(model)
    kept = [row[max(len(row) + new - context, 0) if context else 0 :] for row in rows]
    pad: Any = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    ids, mask = padded(kept, side="left", padding=pad, device=model.device)
    output: Tensor = model.generate(  # type: ignore[operator]
        input_ids=ids, attention_mask=mask, max_new_tokens=new, do_sample=True, top_p=top_p, top_k=0, pad_token_id=pad
    )
    texts = [continuation_text(tokenizer, row, tail) for row, tail in zip(kept, output[:, ids.shape[1] :].tolist(), strict=True)]
    return [whole_sentences(text, shortest, passage.longest) for text, passage in zip(texts, batch, strict=True)]
