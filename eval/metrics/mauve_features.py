"""Features for MAUVE: what a model's last layer holds at the end of a text.

Pillutla et al., *MAUVE: Measuring the Gap Between Neural Text and Human Text* (2021, arXiv 2102.01454), whose library reads one
text at a time. Here texts of like length are read together, equal ones once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders.forwards.ragged import padded
from counterpoint.decoders.hf.configuration import context_length
from counterpoint.eval.loading import choose_device, on_hub, quiet
from counterpoint.rankers.weight_files import refusals

BATCH_TOKENS = {"cpu": 1024}
"""Tokens read at once: what keeps a CPU busy; accelerators take ``MORE``."""
MORE = 16384

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class LoadedFeaturizer:
    """A model that reads texts, left to right or both ways, and what it made of those it has read.

    Example:
        >>> from counterpoint.eval import EXPERT
        >>> from counterpoint.eval.metrics.mauve_features import load_featurizer
        >>> load_featurizer(EXPERT).features(["It was the sea.", "It was the sea, and the land."]).shape
        (2, 256)
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    known: dict[Tokens, Any] = field(default_factory=dict, repr=False, compare=False)
    """Features by tokens: the references of many decoders are read once. 4 bytes times the model's width for each text."""

    def features(self, texts: Sequence[str], max_length: int | None = None) -> Float[np.ndarray, "texts width"]:
        """The terminal hidden state of each text, after the final norm, in float32 and in the order of the texts.

        Args:
            texts: At least one; each of at least one token.
            max_length: Tokens of a text that are read, from the start, special ones included.

        Raises:
            ValueError: If there is no text, one has no tokens, or more than the model's context holds.
        """
        if not texts:
            raise ValueError("texts is empty; pass at least one")
        cut: dict[str, Any] = {} if max_length is None else {"truncation": True, "max_length": max_length}
        sequences = [tuple(ids) for ids in self.tokenizer(list(texts), **cut)["input_ids"]]
        room = context_length(self.model)
        for text, sequence in zip(texts, sequences, strict=True):
            if not sequence:
                raise ValueError(f"text {text!r} has no tokens, hence no last one; leave it out")
            if room is not None and len(sequence) > room:
                raise ValueError(f"a text of {len(sequence)} tokens exceeds the {room} of {self.name}: pass max_length={room}")
        new = [sequence for sequence in dict.fromkeys(sequences) if sequence not in self.known]
        for batch in batches(new, BATCH_TOKENS.get(self.model.device.type, MORE)):
            self.known.update(zip(batch, last_states(self.model, batch), strict=True))
        return np.stack([self.known[sequence] for sequence in sequences])


def load_featurizer(
    name: str | Path, *, device: str | None = None, dtype: str = "float32", trust_remote_code: bool = False
) -> LoadedFeaturizer:
    """Load a model to read texts by.

    Args:
        name: A local folder or a repository on the Hugging Face hub: a causal language model or an encoder.
        device: "cpu", "cuda", "cuda:1", "mps"; None for an accelerator if there is one.
        dtype: What the model computes in. "bfloat16" is several times faster on CPUs and accelerators that have it, and moves
            MAUVE by less than another seed (``docs/metrics/mauve.md``), but is not what published figures are of.
        trust_remote_code: Whether code that comes with the model may run.

    Raises:
        OSError: If there is no such model, or it lacks weights.
        ValueError: If it is an encoder with a decoder.
    """
    folder = Path(name).is_dir()
    try:
        options: dict[str, Any] = {
            "trust_remote_code": trust_remote_code,
            "local_files_only": folder or not on_hub(str(name)),
        }
        target = choose_device(device)
        with quiet(), refusals(f"featurizer {name}"):
            tokenizer = AutoTokenizer.from_pretrained(name, **options)
            model, report = AutoModel.from_pretrained(name, dtype=dtype, output_loading_info=True, **options)
    except OSError as error:
        raise OSError(
            f"featurizer {name} is neither the folder of a model nor within reach on the Hugging Face hub; fetch it where there is "
            "a network, or pass another: figures of two featurisers are never to be compared"
        ) from error
    if model.config.is_encoder_decoder:
        raise ValueError(f"featurizer {name} has an encoder and a decoder; take a causal language model or an encoder")
    if missing := sorted(key for key in report["missing_keys"] if "pooler" not in key):  # what pools comes after what is read
        raise OSError(f"featurizer {name}: the checkpoint lacks {len(missing)} of the model's weights, {missing[0]} first")
    model.config.use_cache = False  # nothing follows
    return LoadedFeaturizer(str(name), model.to(target).eval(), tokenizer)


def batches(sequences: Sequence[Tokens], most: int) -> Iterator[list[Tokens]]:
    """Sequences by length, as many at once as have ``most`` tokens with their padding, the longest first.

    Example:
        >>> from counterpoint.eval.metrics.mauve_features import batches
        >>> list(batches([(1,), (2, 3, 4), (5, 6), (7, 8)], most=6))
        [[(2, 3, 4), (5, 6)], [(7, 8), (1,)]]
    """
    batch: list[Tokens] = []
    for sequence in sorted(sequences, key=len, reverse=True):
        if batch and (len(batch) + 1) * len(batch[0]) > most:
            yield batch
            batch = []
        batch.append(sequence)
    if batch:
        yield batch


@torch.inference_mode()
def last_states(model: PreTrainedModel, batch: Sequence[Tokens]) -> Float[np.ndarray, "rows width"]:
    """What the last layer holds at each row's last token; rows are padded on the right, where left-to-right models never look."""
    ids, mask = padded(batch)
    device: Any = model.get_input_embeddings().weight.device
    output: Any = model(input_ids=ids.to(device), attention_mask=mask.to(device))
    states = output.last_hidden_state
    ends = mask.sum(dim=1).to(states.device) - 1
    found: np.ndarray = states[torch.arange(len(batch), device=states.device), ends].float().cpu().numpy()
    return found
