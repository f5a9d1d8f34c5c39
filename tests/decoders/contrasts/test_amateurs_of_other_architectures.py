"""Contrastive decoding with amateurs of other architectures than the expert."""

from __future__ import annotations

import pytest

import processor_laws as laws
from contrast_cases import model_case
from families import FAMILY
from processor_laws import ROWS

AMATEURS = ["opt", "gpt_neo_local", "llama4_chunked", "deepseek_v3", "mpt", "lfm2", "falcon_h1", "rwkv", "recurrent_gemma"]


@pytest.mark.parametrize("amateur", AMATEURS)
@pytest.mark.parametrize("mode", ["greedy", "beam sample", "finished rows"])
def test_amateurs_of_other_architectures(amateur: str, mode: str) -> None:
    model = FAMILY["llama"].build()
    batch = laws.batch_of(FAMILY[amateur], model)  # of one row where the amateur cannot be padded
    laws.equals_the_reference(model_case(FAMILY[amateur].build()), model, batch, **ROWS[mode])


@pytest.mark.parametrize("mode", ["greedy", "beams", "finished rows"])
def test_a_decoder_only_amateur_of_an_encoder_decoder_model(mode: str) -> None:
    """It reads what the decoder has written, to which the padding of the encoder's text means nothing."""
    model = FAMILY["bart"].build()
    laws.equals_the_reference(model_case(FAMILY["gpt2"].build()), model, laws.batch_of(FAMILY["bart"], model), **ROWS[mode])
