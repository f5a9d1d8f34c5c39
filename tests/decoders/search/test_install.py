"""Plain ``generate(dola_layers=...)`` after ``install()``: what transformers 4 had, in every mode that it allows."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin, LogitsProcessorList, PreTrainedModel, RepetitionPenaltyLogitsProcessor
from transformers.generation.configuration_utils import GenerationMode
from transformers.generation.utils import GENERATION_MODES_MAPPING

import laws
import layer_references as reference
from counterpoint.decoders import DoLaLogitsProcessor, FrustratinglySimpleLogitsProcessor, contrastive_search, install, uninstall
from counterpoint.decoders.hf.modes import VALIDATE
from families import FAMILY, prompts

PLAIN: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}


@pytest.fixture
def installed() -> Iterator[None]:
    install()
    yield
    uninstall()


@pytest.fixture
def model() -> PreTrainedModel:
    return FAMILY["llama"].build()


def new_tokens(model: PreTrainedModel, ids: Tensor, mask: Tensor, **kwargs: Any) -> list[list[int]]:
    output = model.generate(ids, attention_mask=mask, **(PLAIN | kwargs))
    tokens: list[list[int]] = output[:, ids.shape[1] :].tolist()
    return tokens


def test_what_install_relies_on_is_there() -> None:
    """If transformers moves any of it, this is where it shows."""
    assert GENERATION_MODES_MAPPING[GenerationMode.DOLA_GENERATION] == "transformers-community/dola"
    assert GENERATION_MODES_MAPPING[GenerationMode.CONTRASTIVE_SEARCH] == "transformers-community/contrastive-search"
    assert GENERATION_MODES_MAPPING[GenerationMode.GREEDY_SEARCH] == GENERATION_MODES_MAPPING[GenerationMode.SAMPLE] == "_sample"
    sample = inspect.signature(GenerationMixin._sample).parameters
    assert [*sample][:7] == [
        *("self", "input_ids", "logits_processor", "stopping_criteria", "generation_config", "synced_gpus", "streamer")
    ]
    validate = inspect.signature(getattr(GenerationMixin, VALIDATE)).parameters
    assert [*validate] == ["self", "generation_mode", "generation_config", "generation_mode_kwargs"]
    for mode in ({}, {"do_sample": True}):
        config = GenerationConfig(dola_layers="high", **mode)
        assert config.get_generation_mode() == GenerationMode.DOLA_GENERATION


def test_a_release_without_the_mode_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(GENERATION_MODES_MAPPING, GenerationMode.DOLA_GENERATION)
    with pytest.raises(RuntimeError, match="has no dola_generation to redirect"):
        install()
    assert "_counterpoint_contrastive_search" not in dir(GenerationMixin)


@pytest.mark.parametrize("name", ["llama", "gpt2_tied", "gemma3_sliding", "bloom", "mamba"])
@pytest.mark.parametrize("layers", ["low", "high", [0, 1, 2], (1,)], ids=str)
def test_generates_by_the_processor(name: str, layers: Any, installed: None) -> None:
    model = FAMILY[name].build()
    ids, mask = prompts(model, laws.LENGTHS)
    expected = new_tokens(model, ids, mask, logits_processor=[DoLaLogitsProcessor(model, layers=layers)])
    assert new_tokens(model, ids, mask, dola_layers=layers) == expected
    assert new_tokens(model, ids, mask, dola_layers=layers) == expected
    assert expected != new_tokens(model, ids, mask)


def test_the_contrast_comes_before_all_processors(model: PreTrainedModel, installed: None) -> None:
    """As in transformers 4; a penalty on the model's logits instead of the contrast would say something else."""
    ids, mask = prompts(model, (9,))
    penalty = RepetitionPenaltyLogitsProcessor(1.8)

    def scores(text: Tensor) -> Tensor:
        return penalty(text, reference.dola(*reference.exits(model, text, [1, 2]))[None])[0]

    expected, leads = reference.decode(scores, ids, 12)
    assert min(leads) > 1e-4
    assert new_tokens(model, ids, mask, dola_layers=[1, 2], repetition_penalty=1.8) == [expected]
    assert new_tokens(model, ids, mask, dola_layers=[1, 2], logits_processor=[penalty]) == [expected]
    before = [penalty, DoLaLogitsProcessor(model, layers=[1, 2])]
    assert new_tokens(model, ids, mask, logits_processor=before) != [expected]


def test_samples(model: PreTrainedModel, installed: None) -> None:
    ids, mask = prompts(model, laws.LENGTHS)
    mode = {"do_sample": True, "temperature": 1.5, "top_k": 20, "num_return_sequences": 2}
    found = []
    for arguments in (
        {"dola_layers": [0, 1]},
        {"logits_processor": [DoLaLogitsProcessor(model, layers=[0, 1])]},
        {"dola_layers": [0, 1]},
    ):
        torch.manual_seed(3)
        found.append(new_tokens(model, ids, mask, **mode, **arguments))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 6


def test_outputs_mean_what_transformers_documents(model: PreTrainedModel, installed: None) -> None:
    """Law L7: logits are the last layer's, scores the processed contrast."""
    ids, mask = prompts(model, (9,))
    wanted = {"return_dict_in_generate": True, "output_logits": True, "output_scores": True, "output_hidden_states": True}
    output = model.generate(ids, attention_mask=mask, dola_layers=[1, 2], **(PLAIN | wanted))
    for step, (logits, scores) in enumerate(zip(output.logits, output.scores, strict=True)):
        final, early = reference.exits(model, output.sequences[:, : ids.shape[1] + step], [1, 2])
        torch.testing.assert_close(logits[0], final.float(), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(scores[0], reference.dola(final, early).float(), atol=1e-3, rtol=1e-3)
    assert len(output.hidden_states) == 12


def test_streams(model: PreTrainedModel, installed: None) -> None:
    ids, mask = prompts(model, (6,))
    listener = laws.Listener()
    tokens = new_tokens(model, ids, mask, dola_layers="low", streamer=listener)
    assert listener.tokens == ids[0].tolist() + tokens[0]
    assert listener.ended


def test_synced_gpus_keeps_stepping(model: PreTrainedModel, installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, mask = prompts(model, (6,))
    expected = new_tokens(model, ids, mask, dola_layers="low")
    peers = iter([True] * 16 + [False])
    monkeypatch.setattr(type(model), "_has_unfinished_sequences", lambda self, finished, synced_gpus, device: next(peers))
    assert new_tokens(model, ids, mask, dola_layers="low", synced_gpus=True) == expected
    assert next(peers, None) is None


def test_rows_end_by_themselves(model: PreTrainedModel, installed: None) -> None:
    ids, mask = prompts(model, laws.LENGTHS)
    free = new_tokens(model, ids, mask, dola_layers="low")
    eos = free[1][4]
    for row, tokens in zip(free, new_tokens(model, ids, mask, dola_layers="low", eos_token_id=eos), strict=True):
        end = row.index(eos) + 1 if eos in row else len(row)
        assert tokens[:end] == row[:end]
        assert set(tokens[end:]) <= {0}


def test_the_checkpoint_may_ask_for_it(model: PreTrainedModel, installed: None) -> None:
    ids, mask = prompts(model, laws.LENGTHS)
    config = GenerationConfig(dola_layers=[1], **PLAIN)
    found = model.generate(ids, attention_mask=mask, generation_config=config)
    assert found[:, ids.shape[1] :].tolist() == new_tokens(model, ids, mask, dola_layers=[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_beams": 2}, r"dola_layers='high' goes with greedy search and sampling, not with beam search; .*DoLaLogitsProcessor"),
        ({"num_beams": 2, "do_sample": True}, "not with beam sample"),
        ({"prompt_lookup_num_tokens": 2}, "not with assisted generation"),
        ({"assistant_model": FAMILY["llama"].build()}, "not with assisted generation"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "dola_layers='high' is another decoding method than contrastive search"),
        ({"dola_layers": "middle"}, "layers='middle': 'low', 'high' or a list of layers"),
        ({"dola_layers": 2}, "dola_layers=2: 'low', 'high' or a list of layers"),
        ({"dola_layers": [1, 9]}, r"layers=\[1, 9\]: early exits of this model are 0 \(the embeddings\) to 2"),
        ({"dola_layers": []}, r"layers=\[\]"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_work_is_refused_by_name(
    model: PreTrainedModel, installed: None, arguments: dict[str, Any], message: str
) -> None:
    ids, mask = prompts(model, (6,))
    with pytest.raises(ValueError, match=message):
        new_tokens(model, ids, mask, **({"dola_layers": "high"} | arguments))


def test_encoder_decoder_models_are_refused_by_name(installed: None) -> None:
    bart = FAMILY["bart"].build()
    with pytest.raises(ValueError, match="BartForConditionalGeneration is an encoder-decoder model"):
        new_tokens(bart, *prompts(bart, (6,)), dola_layers="high")


def test_other_modes_are_as_before(model: PreTrainedModel, installed: None) -> None:
    ids, mask = prompts(model, laws.LENGTHS)
    found = [new_tokens(model, ids, mask, **mode) for mode in ({}, {"num_beams": 3})]
    uninstall()
    assert found == [new_tokens(model, ids, mask, **mode) for mode in ({}, {"num_beams": 3})]
    install()
    with pytest.raises(ValueError, match="num_return_sequences has to be 1"):  # transformers' own checks go on
        new_tokens(model, ids, mask, prompt_lookup_num_tokens=2, num_return_sequences=2, do_sample=True)


def test_a_call_leaves_nothing_behind(model: PreTrainedModel, installed: None) -> None:
    ids, mask = prompts(model, (6,))
    before = [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()]
    new_tokens(model, ids, mask, dola_layers=[0, 1])
    assert [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()] == before


def test_uninstall_gives_everything_back(model: PreTrainedModel) -> None:
    ids, mask = prompts(model, (6,))
    before = dict(GENERATION_MODES_MAPPING), getattr(GenerationMixin, VALIDATE), dir(GenerationMixin)
    install()
    install()
    assert new_tokens(model, ids, mask, dola_layers=[1])
    uninstall()
    uninstall()
    assert (dict(GENERATION_MODES_MAPPING), getattr(GenerationMixin, VALIDATE), dir(GenerationMixin)) == before
    with pytest.raises(ValueError, match="trust_remote_code"):
        new_tokens(model, ids, mask, dola_layers=[1])


def test_the_wrong_order_is_caught(model: PreTrainedModel, installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = GenerationMixin._sample

    def last(self: Any, input_ids: Tensor, logits_processor: LogitsProcessorList, **kwargs: Any) -> Any:
        first, *others = logits_processor
        return sample(self, input_ids, logits_processor=LogitsProcessorList([*others, first]), **kwargs)

    monkeypatch.setattr(GenerationMixin, "_sample", last)
    with pytest.raises(AssertionError):
        test_the_contrast_comes_before_all_processors(model, installed)


def test_contrastive_search_by_name_still_refuses(model: PreTrainedModel, installed: None) -> None:
    ids, mask = prompts(model, (6,))
    with pytest.raises(ValueError, match="another decoding method"):
        new_tokens(model, ids, mask, custom_generate=contrastive_search, penalty_alpha=0.6, top_k=4, dola_layers="high")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("logits_processor", {"logits_processor": [lambda ids, scores: scores]}),
        ("custom_generate", {"custom_generate": contrastive_search}),
        ("penalty_alpha=0.6", {"penalty_alpha": 0.6}),
        ("penalty_alpha=0.6", {"generation_config": GenerationConfig(penalty_alpha=0.6, top_k=4)}),
        ("dola_layers='high'", {"dola_layers": "high"}),
    ],
)
def test_a_continuous_batch_does_not_ignore_a_decoder(model: PreTrainedModel, name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: continuous batching .* use generate\(\)"):
        model.generate_batch([[5, 6]], max_new_tokens=3, **arguments)
    if "generation_config" in arguments:
        with pytest.raises(ValueError, match=name):
            model.init_continuous_batching(**arguments)


def test_a_continuous_batch_is_transformers_own_after_uninstall(model: PreTrainedModel) -> None:
    before = GenerationMixin.generate_batch, GenerationMixin.init_continuous_batching
    install()
    assert GenerationMixin.generate_batch is not before[0]
    uninstall()
    assert (GenerationMixin.generate_batch, GenerationMixin.init_continuous_batching) == before
    assert "generate_batch" not in vars(GenerationMixin)


def test_a_processor_that_sees_no_texts_says_so(model: PreTrainedModel) -> None:
    """As continuous batching calls processors that are brought into it: the last token of each row, in one dimension."""
    for processor in (DoLaLogitsProcessor(model), FrustratinglySimpleLogitsProcessor()):
        with pytest.raises(ValueError, match=rf"shape \(3,\): continuous batching .* {type(processor).__name__} reads texts"):
            processor(torch.tensor([5, 6, 7]), torch.zeros(3, 96))
