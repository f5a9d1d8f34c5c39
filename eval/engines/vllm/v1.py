"""The class that vLLM's V1 interface loads: rows that come, go and move, as its batch has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from counterpoint.eval.engines.vllm.admission import admit
from counterpoint.eval.engines.vllm.negatives import Negatives
from counterpoint.eval.engines.vllm.rows import ContrastRows, Row


class ContrastProcessor(LogitsProcessor):  # type: ignore[misc]  # Any where vLLM is not installed
    """Decoders that contrast, in vLLM: ``--logits-processors counterpoint.eval.engines.vllm:ContrastProcessor``.

    A request names a decoder and its values in ``vllm_xargs`` (``SamplingParams(extra_args=...)`` of the offline ``LLM``); those
    without one are left alone. Amateurs and adapters are what ``--additional-config`` lists.

    Raises:
        ValueError: For a server whose batch cannot be followed, and settings or models that are wrong.
    """

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self.contrast = ContrastRows(Negatives.load(vllm_config, device))
        self.rows: dict[int, Row] = {}

    @classmethod
    @override
    def validate_params(cls, sampling_params: Any) -> None:
        """Refuse what cannot be served, with HTTP 400."""
        admit(sampling_params)

    @override
    def is_argmax_invariant(self) -> bool:
        return False

    @override
    def update_state(self, batch_update: BatchUpdate | None) -> None:
        process_dict_updates(self.rows, batch_update, self._row)

    @override
    def apply(self, logits: Float[Tensor, "batch vocabulary"]) -> Float[Tensor, "batch vocabulary"]:
        return self.contrast.scores(self.rows, logits)

    def _row(self, params: Any, prompt: Sequence[int] | None, output: Sequence[int]) -> Row | None:
        return Row.of(params, prompt, output, self.contrast.negatives)
