"""Faults of transformers' own in some of the releases that the tests run on; what they spoil is skipped by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import transformers
from packaging.version import Version
from transformers import DynamicCache, PreTrainedModel

from counterpoint.decoders.hf.caches import sliding_windows


def before(release: str) -> bool:
    """Whether the tests run on an earlier release of transformers."""
    return Version(transformers.__version__) < Version(release)


def skip_failing_drafts(model: PreTrainedModel, mode: Mapping[str, Any]) -> None:
    """Skip where assisted decoding fails in ``generate`` itself, without any logits processor."""
    if model.config.model_type == "t5" and before("5.22"):
        pytest.skip("transformers before 5.22 takes rejected tokens back from decoder layers that T5 never filled")
    assistant = model if mode.get("assistant_early_exit") else mode.get("assistant_model")
    if assistant is not None and before("5.19") and sliding_windows(DynamicCache(config=assistant.config)) != {None}:
        pytest.skip("transformers before 5.19 masks an assistant's sliding window by another length than it has")
