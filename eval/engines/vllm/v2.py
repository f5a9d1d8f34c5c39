"""The same for vLLM's V2 model runner, written from its source and never run: it needs Triton on an accelerator.

Rows are slots here. Tokens are read back from the device once for each request that enters, and one a step afterwards.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override
from vllm.v1.worker.gpu.sample.logits_processor import LogitsContext, LogitsProcessor, LogitsProcRequestState

from counterpoint.eval.engines.vllm.admission import admit
from counterpoint.eval.engines.vllm.negatives import Negatives
from counterpoint.eval.engines.vllm.rows import ContrastRows, Row


class ContrastProcessorV2(LogitsProcessor):  # type: ignore[misc]  # Any where vLLM is not installed
    """:class:`~counterpoint.eval.engines.vllm.v1.ContrastProcessor` for the V2 model runner, which was never run."""

    def __init__(self, vllm_config: Any, req_states: LogitsProcRequestState) -> None:
        self.states = req_states
        self.contrast = ContrastRows(Negatives.load(vllm_config, req_states.device))
        self.entered: dict[int, Any] = {}
        """Sampling parameters of requests whose tokens are on the device with the next step, by slot."""
        self.rows: dict[int, Row] = {}

    @classmethod
    @override
    def validate_params(cls, sampling_params: Any) -> None:
        """Refuse what cannot be served, with HTTP 400."""
        admit(sampling_params)

    @override
    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        self.rows.pop(req_idx, None)
        self.entered.pop(req_idx, None)
        if not sampling_params.extra_args or "decoder" not in sampling_params.extra_args:
            return False
        self.entered[req_idx] = sampling_params
        return True

    @override
    def apply(self, logits: Float[Tensor, "batch vocabulary"], ctx: LogitsContext) -> Float[Tensor, "batch vocabulary"]:
        slots = [int(slot) for slot in ctx.idx_mapping_np]
        tokens, lengths = ctx.input_ids.tolist(), (ctx.pos + 1).tolist()
        for index, slot in enumerate(slots):
            if slot in self.entered and lengths[index] >= int(self.states.prefill_len.np[slot]):
                self._enter(slot, lengths[index])
            elif slot in self.rows and len(self.rows[slot].prompt) + len(self.rows[slot].output) < lengths[index]:
                self.rows[slot].output = [*self.rows[slot].output, tokens[index]]
        return self.contrast.scores({index: self.rows[slot] for index, slot in enumerate(slots) if slot in self.rows}, logits)

    def _enter(self, slot: int, length: int) -> None:
        """The row of a request whose tokens have come, those of before a preemption included."""
        written = torch.as_tensor(self.states.all_token_ids.gpu[slot, :length]).tolist()
        prompt = int(self.states.prompt_len.np[slot])
        row = Row.of(self.entered.pop(slot), written[:prompt], written[prompt:], self.contrast.negatives)
        if row is not None:
            self.rows[slot] = row
