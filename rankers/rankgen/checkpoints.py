"""Checkpoints of RankGen as they were published, and as this library saves them.

- ``config.json`` and ``pytorch_model.bin`` or ``model.safetensors``: ``t5_encoder.*`` and ``projection.weight``, of
  ``kalpeshk2011/rankgen-t5-{base,large,xl}-all`` and ``rankgen-t5-xl-pg19``;
- ``state_dict.pickle`` and ``projection.pickle``, the older ones: NumPy arrays converted from T5X, whose matrices are transposed.

No code that comes with a checkpoint is run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase, T5Config

from counterpoint.rankers.rankgen.array_pickles import read_arrays
from counterpoint.rankers.rankgen.encoder import RankGenEncoder
from counterpoint.rankers.weight_files import refusals

PUBLISHED_TOKENIZER = "google/t5-v1_1-base"
"""The tokenizer of T5 1.1, the same for all its sizes."""

FILES = ["*.json", "*.safetensors", "pytorch_model*.bin", "*.pickle", "spiece.model"]
STATE, PROJECTION = "state_dict.pickle", "projection.pickle"
EMBEDDING = "encoder.embed_tokens.weight"


def checkpoint_folder(name: str | Path) -> Path:
    """The folder itself, or where the files of a repository on the Hugging Face hub were put.

    Raises:
        OSError: If there is neither.
    """
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(snapshot_download(str(name), allow_patterns=FILES))
    except Exception as error:  # the hub's errors have no common base class
        raise OSError(f"{name} is neither a folder nor a repository that the Hugging Face hub gives: {error}") from error


def load_encoder(folder: Path, dtype: torch.dtype) -> RankGenEncoder:
    """The encoder of a checkpoint of either layout.

    Raises:
        ValueError: If weights are missing, unexpected, of another shape, NaN or infinite, or the file holds anything but weights.
        OSError: If there is no checkpoint.
    """
    load: Any = partial(
        RankGenEncoder.from_pretrained,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        trust_remote_code=False,
    )
    with refusals(str(folder)):
        if (folder / STATE).is_file():
            state_dict = legacy_state_dict(folder)
            encoder, report = load(None, config=legacy_config(folder, state_dict), state_dict=state_dict)
        else:
            encoder, report = load(folder, weights_only=True)
    problems = [f"{key} is missing" for key in sorted(report["missing_keys"])]
    problems += [f"{key} is unexpected" for key in sorted(report["unexpected_keys"])]
    problems += [f"{key} has shape {[*found]}, not {[*own]}" for key, found, own in sorted(report["mismatched_keys"])]
    if problems:
        raise ValueError(
            f"{folder} is not a checkpoint of RankGen: {len(problems)} of its weights are wrong: {', '.join(problems[:4])}"
        )
    for key, weights in encoder.state_dict().items():
        if not weights.isfinite().all():
            raise ValueError(
                f"{folder}: {key} is not finite in {dtype}; the checkpoint is damaged, or too large for the dtype: take float32"
            )
    encoder.config.__dict__.pop("auto_map", None)  # names code that this library neither runs nor saves
    found: RankGenEncoder = encoder
    return found


def legacy_state_dict(folder: Path) -> dict[str, Tensor]:
    """The two pickles under the names of the other layout."""
    arrays, projection = read_arrays(folder / STATE), read_arrays(folder / PROJECTION)
    if not isinstance(arrays, dict) or not isinstance(projection, Tensor):
        raise ValueError(f"{folder}: {STATE} has to be a dictionary of arrays and {PROJECTION} an array")
    weights = {f"t5_encoder.{key}": array if key == EMBEDDING else array.t() for key, array in arrays.items()}
    return {**weights, "projection.weight": projection.t()}


def legacy_config(folder: Path, state_dict: Mapping[str, Tensor]) -> T5Config:
    """The sizes that the weights have; what they do not show is that of every T5 1.1."""
    block = "t5_encoder.encoder.block.0.layer."
    try:
        buckets, heads = state_dict[f"{block}0.SelfAttention.relative_attention_bias.weight"].shape
        inner, width = state_dict[f"{block}0.SelfAttention.q.weight"].shape
        hidden = state_dict[f"{block}1.DenseReluDense.wo.weight"].shape[1]
        vocabulary = state_dict[f"t5_encoder.{EMBEDDING}"].shape[0]
    except KeyError as error:
        raise ValueError(
            f"{folder}: {STATE} is not an encoder of T5: it lacks {str(error)[1:].removeprefix('t5_encoder.')}"
        ) from error
    return T5Config(
        vocab_size=vocabulary,
        d_model=width,
        d_kv=inner // heads,
        d_ff=hidden,
        num_layers=len({match[1] for match in map(re.compile(r"t5_encoder\.encoder\.block\.(\d+)\.").match, state_dict) if match}),
        num_heads=heads,
        relative_attention_num_buckets=buckets,
        feed_forward_proj="gated-gelu" if f"{block}1.DenseReluDense.wi_0.weight" in state_dict else "relu",
    )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The checkpoint's own tokenizer, or else that of T5 1.1.

    Raises:
        OSError: If it has none and the other one cannot be fetched.
    """
    own = any((folder / file).is_file() for file in ("tokenizer.json", "spiece.model"))  # without, T5's would be an empty one
    try:
        with refusals(f"the tokenizer of {folder}", "no code of a checkpoint is run; pass tokenizer="):
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                folder if own else PUBLISHED_TOKENIZER, trust_remote_code=False
            )
    except OSError as error:
        raise OSError(
            f"{folder} holds no tokenizer (tokenizer.json or spiece.model), and {PUBLISHED_TOKENIZER} cannot be fetched; pass "
            "tokenizer="
        ) from error
    return tokenizer
