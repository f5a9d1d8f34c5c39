"""The decoders of ``generate``, made of what a request says and a server has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from counterpoint.decoders.amateurs.models import Amateur
from counterpoint.decoders.base import DistributionProcessor
from counterpoint.decoders.choosing.own import resolve
from counterpoint.decoders.choosing.rows import AMATEUR
from counterpoint.decoders.contrasts.adacad import AdaCADLogitsProcessor
from counterpoint.decoders.contrasts.coiecd import COIECDLogitsProcessor
from counterpoint.decoders.contrasts.contrastive_decoding import ContextAwareLogitsProcessor
from counterpoint.decoders.contrasts.m3id import M3IDLogitsProcessor
from counterpoint.eval.engines.vllm.negatives import Negatives
from counterpoint.eval.engines.vllm.requests import OF_REQUEST, Request

PROMPTED: Mapping[str, Callable[..., DistributionProcessor]] = {
    "context_aware": ContextAwareLogitsProcessor,
    "adacad": AdaCADLogitsProcessor,
    "coiecd": COIECDLogitsProcessor,
    "m3id": M3IDLogitsProcessor,
}
"""Decoders that read a prompt without its context, which the builders of the table cut out of a text."""


class OfRows(Amateur):
    """The amateur of rows whose logits are gathered, and aligned with the served model's, before a decoder asks for them."""

    @override
    def logits(self, input_ids: Int[Tensor, "rows length"]) -> Float[Tensor, "rows vocabulary"]:
        raise ValueError("the rows of an engine bring their amateur's logits themselves")


def decoder_of(request: Request, negatives: Negatives) -> DistributionProcessor:
    """The decoder of requests with these settings; what it asks its amateur for, the rows of the batch bring."""
    values: dict[str, Any] = {key: value for key, value in request.spec.values.items() if key not in (*AMATEUR, "message")}
    row = request.spec.row
    if row.sampling:
        values = {key: value for key, value in values.items() if key not in OF_REQUEST}
    if request.prompted:
        stand_in = {"input_ids": torch.tensor([[0]])}  # each row has a prompt of its own
        return PROMPTED[row.name](negatives.amateurs[""].amateur.model, stand_in, **values)
    at_hand = {"amateur": OfRows()} if request.amateur else {}
    made: DistributionProcessor = resolve(row.target)(**at_hand, **values)
    return made
