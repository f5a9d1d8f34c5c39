"""Every method that chooses tokens, by what ``generate`` is given for it, on toy models of one vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from counterpoint.decoders import (
    AdaCADLogitsProcessor,
    COIECDLogitsProcessor,
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    ContrastiveSearchLogitsProcessor,
    DeCoReLogitsProcessor,
    DoLaLogitsProcessor,
    FrustratinglySimpleLogitsProcessor,
    InputsAmateur,
    LastTokenAmateur,
    LayerFusionLogitsProcessor,
    M3IDLogitsProcessor,
    PLessLogitsProcessor,
    ReleasedContrastiveDecodingLogitsProcessor,
    SLEDLogitsProcessor,
    TopNSigmaLogitsProcessor,
    VectorAntiLanguageModel,
    adaptive_contrastive_search,
    contrastive_search,
    extrapolation,
    speculative_contrastive_decoding,
)
from families import prompts

SEARCH: dict[str, Any] = {"custom_generate": contrastive_search, "penalty_alpha": 0.6, "top_k": 4}
Method = Callable[[PreTrainedModel, PreTrainedModel], dict[str, Any]]
"""What ``generate`` is given, from the model and an amateur, for a batch of two prompts."""


def processor(make: Callable[[PreTrainedModel, PreTrainedModel], Any]) -> Method:
    return lambda model, amateur: {"logits_processor": [make(model, amateur)]}


def other(model: PreTrainedModel) -> dict[str, Tensor]:
    ids, mask = prompts(model, (4, 6))
    return {"input_ids": ids, "attention_mask": mask}


METHODS: dict[str, Method] = {
    "contrastive search": lambda model, amateur: dict(SEARCH),
    "contrastive search in rows": lambda model, amateur: {**SEARCH, "candidates": "expand"},
    "adaptive contrastive search": lambda model, amateur: {"custom_generate": adaptive_contrastive_search},
    "contrastive search as a processor": processor(lambda model, amateur: ContrastiveSearchLogitsProcessor(model)),
    "speculative": lambda model, amateur: {"custom_generate": speculative_contrastive_decoding, "amateur": amateur},
    "contrastive decoding": processor(lambda model, amateur: ContrastiveDecodingLogitsProcessor(amateur)),
    "last token": processor(lambda model, amateur: ContrastiveDecodingLogitsProcessor(LastTokenAmateur(amateur))),
    "released, beams": lambda model, amateur: {
        "logits_processor": [ReleasedContrastiveDecodingLogitsProcessor(amateur)],
        "num_beams": 3,
    },
    "context-aware": processor(lambda model, amateur: ContextAwareLogitsProcessor(model, other(model))),
    "adacad": processor(lambda model, amateur: AdaCADLogitsProcessor(model, other(model))),
    "coiecd": processor(lambda model, amateur: COIECDLogitsProcessor(model, other(model))),
    "m3id": processor(lambda model, amateur: M3IDLogitsProcessor(model, other(model), rate=0.3)),
    "decore": processor(lambda model, amateur: DeCoReLogitsProcessor(model, [(0, 1), (1, 0)])),
    "inputs": processor(
        lambda model, amateur: ContrastiveDecodingLogitsProcessor(
            InputsAmateur(model, other(model)), form=partial(extrapolation, beta=1.0)
        )
    ),
    "dola": processor(lambda model, amateur: DoLaLogitsProcessor(model, layers=[0, 1, 2])),
    "dola_layers": lambda model, amateur: {"dola_layers": "high"},
    "sled": processor(lambda model, amateur: SLEDLogitsProcessor(model)),
    "layer fusion": processor(lambda model, amateur: LayerFusionLogitsProcessor(model, amateur, layers=[1])),
    "frustratingly simple": processor(lambda model, amateur: FrustratinglySimpleLogitsProcessor()),
    "frustratingly simple, vectors": processor(
        lambda model, amateur: FrustratinglySimpleLogitsProcessor(VectorAntiLanguageModel(model))
    ),
    "p-less": processor(lambda model, amateur: PLessLogitsProcessor()),
    "top-n-sigma": processor(lambda model, amateur: TopNSigmaLogitsProcessor()),
}
