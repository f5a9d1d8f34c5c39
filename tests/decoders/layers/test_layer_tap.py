"""A tap gives the states of the forward that read exactly these ids, or says that it cannot."""

from __future__ import annotations

import gc
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel

import layer_references as reference
from counterpoint.decoders import DoLaLogitsProcessor, ModelAmateur, SLEDLogitsProcessor
from counterpoint.decoders.forwards import layer_tap
from counterpoint.decoders.forwards.layer_tap import KEPT, LayerTap
from counterpoint.decoders.forwards.layers import EarlyExits
from counterpoint.decoders.hf import generate_call
from counterpoint.decoders.hf.generate_call import current_generate_call
from families import FAMILY, prompts
from releases import skip_failing_drafts

PLAIN: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
SOME = ["llama", "gpt2", "mistral_sliding", "gemma3_sliding", "bloom", "mpt", "mamba", "lfm2", "rwkv", "recurrent_gemma"]
CACHED = ["llama", "gpt2", "mistral_sliding", "gemma3_sliding", "bloom"]


@pytest.fixture
def model() -> PreTrainedModel:
    return FAMILY["llama"].build()


class GenerateOutputs(LogitsProcessor):
    """Notes what the tap gives in every step of ``generate``; leaves scores as they are."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.layers = list(range(model.config.num_hidden_layers))
        self.tap, self.exits = LayerTap(model, self.layers), EarlyExits(model, final_norm=False)
        self.steps: list[tuple[Tensor, Tensor]] = []
        self.forwards: list[Any] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        call = current_generate_call()
        assert call is not None
        if not call.drafting:
            self.steps.append((input_ids, self.exits(self.tap.states(input_ids))))
            self.forwards.append(self.tap.latest.forward)
        return scores

    def check(self, mask: Tensor) -> None:
        """All of it equals forwards from scratch of each row alone."""
        padding = mask.shape[1] - mask.sum(dim=1)
        for ids, early in self.steps:
            for row, text in enumerate(ids):
                start = int(padding[row * len(padding) // len(ids)])
                expected = reference.exits(self.model, text[None, start:], self.layers).early.float()
                torch.testing.assert_close(early[:, row], expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize(
    "mode", [{}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2}, {"use_cache": False}], ids=str
)
def test_states_are_those_of_each_row(name: str, mode: dict[str, Any]) -> None:
    if name in ("rwkv", "recurrent_gemma") and (mode.get("num_beams") or mode.get("num_return_sequences")):
        pytest.skip("transformers itself mixes up their rows' states")
    model = FAMILY[name].build()
    ids, mask = prompts(model, (11, 7, 4) if FAMILY[name].padded else (11,))
    record = GenerateOutputs(model)
    torch.manual_seed(0)
    model.generate(ids, attention_mask=mask, logits_processor=[record], **(PLAIN | mode))
    assert len(record.steps) == PLAIN["max_new_tokens"]
    record.check(mask)


@pytest.mark.parametrize(
    ("name", "drafter"),
    [
        *((name, drafter) for name in CACHED for drafter in ("prompt lookup", "itself")),
        *((name, "its first layers") for name in ("llama", "mistral_sliding", "gemma3_sliding")),  # others fail in transformers
    ],
)
def test_several_positions_a_forward(name: str, drafter: str) -> None:
    """Drafted tokens are verified in one forward; the processor is asked about each of them in turn."""
    model = FAMILY[name].build()
    ids = prompts(model, (5,))[0].repeat(1, 3)
    modes: dict[str, dict[str, Any]] = {
        "prompt lookup": {"prompt_lookup_num_tokens": 4},
        "itself": {"assistant_model": model},
        "its first layers": {"assistant_early_exit": 2},
    }
    skip_failing_drafts(model, modes[drafter])
    record = GenerateOutputs(model)
    model.generate(ids, logits_processor=[record], **(PLAIN | modes[drafter]))
    assert len({id(forward) for forward in record.forwards}) < len(record.steps), "no forward served several tokens"
    record.check(torch.ones_like(ids))


def test_a_long_prompt_keeps_its_end_only(model: PreTrainedModel) -> None:
    ids, _ = prompts(model, (KEPT + 20,))
    tap = LayerTap(model, [1])
    model(ids)
    assert tap.latest.forward.states[1].shape[1] == KEPT
    assert tap.latest.forward.states[1].untyped_storage().nbytes() == KEPT * model.config.hidden_size * 4
    expected = model(ids, output_hidden_states=True).hidden_states[1]
    torch.testing.assert_close(tap.states(ids)[0], expected[:, -1])
    model(ids)
    torch.testing.assert_close(tap.states(ids[:, : -KEPT + 1])[0], expected[:, -KEPT], msg="the earliest kept position")


def test_prompts_as_embeddings(model: PreTrainedModel) -> None:
    ids, mask = prompts(model, (9, 6))
    embeds = model.get_input_embeddings()(ids)
    expected = model.generate(ids, attention_mask=mask, logits_processor=[DoLaLogitsProcessor(model)], **PLAIN)
    found = model.generate(inputs_embeds=embeds, attention_mask=mask, logits_processor=[DoLaLogitsProcessor(model)], **PLAIN)
    assert found.tolist() == expected[:, ids.shape[1] :].tolist()


def test_prefill_in_chunks(model: PreTrainedModel) -> None:
    ids, mask = prompts(model, (11, 7))
    record = GenerateOutputs(model)
    model.generate(ids, attention_mask=mask, logits_processor=[record], prefill_chunk_size=4, **PLAIN)
    assert record.forwards[0].ids.shape[1] == 3
    record.check(mask)


def test_a_forward_that_read_something_else_is_found_out(model: PreTrainedModel) -> None:
    ids, _ = prompts(model, (9, 9))
    tap = LayerTap(model, [1])
    with pytest.raises(ValueError, match="no forward of LlamaForCausalLM through all its layers precedes"):
        tap.states(ids)
    model(ids)
    for other in (ids.flip(0), ids[:1], ids + 1, torch.cat([ids, ids[:, :1]], dim=1), ids[:, :0]):
        with pytest.raises(ValueError, match="the latest forward of LlamaForCausalLM did not read these ids"):
            tap.states(other)
    tap.states(ids)


def test_a_forward_that_ended_early_is_found_out(model: PreTrainedModel) -> None:
    ids, _ = prompts(model, (9,))
    tap = LayerTap(model, [0, 2])
    model(ids)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    handle = model.model.layers[1].register_forward_pre_hook(stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            model(ids)
    finally:
        handle.remove()
    with pytest.raises(ValueError, match="through all its layers"):
        tap.states(ids)


@pytest.mark.parametrize("build", [DoLaLogitsProcessor, SLEDLogitsProcessor])
def test_another_model_that_generates_is_refused(build: type[Any]) -> None:
    model, other = FAMILY["llama"].build(), FAMILY["qwen2"].build()
    ids, mask = prompts(model, (9,))
    model(ids)
    for _ in range(2):
        with pytest.raises(ValueError, match="is this the model that generates"):
            other.generate(ids + 1, attention_mask=mask, logits_processor=[build(model)], **PLAIN)


def test_forwards_of_others_do_not_count(model: PreTrainedModel) -> None:
    """Neither those that a processor runs on the model, nor heads and layers called by hand."""
    ids, _ = prompts(model, (9,))
    amateur = ModelAmateur(model)
    taps = [LayerTap(model, [1]), LayerTap(model, [3])]
    own = LayerTap(model, [1], owner=amateur)
    model(ids)
    before = [tap.states(ids) for tap in taps]
    amateur.logits(ids[:, :5])
    model.get_output_embeddings()(torch.zeros(1, 1, model.config.hidden_size))
    model.get_output_embeddings()(torch.zeros(model.config.hidden_size))
    EarlyExits(model, final_norm=False)(torch.zeros(4, 1, model.config.hidden_size))
    for tap, states in zip(taps, before, strict=True):
        assert torch.equal(tap.states(ids), states)
    assert own.states(ids[:, :5]).shape == (1, 1, model.config.hidden_size)
    with pytest.raises(ValueError, match="did not read these ids"):
        own.states(ids)


def test_threads_do_not_meet(model: PreTrainedModel) -> None:
    """One object, one model, several texts at a time, each in step with the others."""
    texts = [prompts(model, (length,))[0] for length in (6, 9, 12, 7)]
    layers = list(range(3))
    tap, exits, turn = LayerTap(model, layers), EarlyExits(model, final_norm=False), threading.Barrier(len(texts))
    found: dict[int, Tensor] = {}

    def call(number: int) -> None:
        try:
            for _ in range(3):
                model(texts[number])
                turn.wait()
                found[number] = exits(tap.states(texts[number]))
        except ValueError:
            turn.abort()
            raise

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(texts)
    for number, early in found.items():
        expected = reference.exits(model, texts[number], layers).early.float()
        torch.testing.assert_close(early[:, 0], expected, atol=1e-4, rtol=1e-4)


def hooks(model: PreTrainedModel) -> int:
    return sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules())


def test_hooks_go_with_the_object(model: PreTrainedModel) -> None:
    before = hooks(model)
    ids, mask = prompts(model, (9,))
    processors = [DoLaLogitsProcessor(model, layers=[layer]) for layer in range(3)]
    each = (hooks(model) - before) // 3
    assert hooks(model) == before + 3 * each > before
    alone = [model.generate(ids, attention_mask=mask, logits_processor=[one], **PLAIN).tolist() for one in processors]
    kept = processors.pop()
    processors.clear()
    gc.collect()
    assert hooks(model) == before + each
    assert model.generate(ids, attention_mask=mask, logits_processor=[kept], **PLAIN).tolist() == alone[-1]
    del kept
    gc.collect()
    assert hooks(model) == before


def test_a_constructor_that_refuses_leaves_no_hooks(model: PreTrainedModel) -> None:
    before = hooks(model)
    with pytest.raises(ValueError, match=r"layers=\[7\]"):
        DoLaLogitsProcessor(model, layers=[7])
    gc.collect()
    assert hooks(model) == before


def test_the_last_position_for_every_draft_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a hook that takes ``hidden[:, -1]`` would give."""
    monkeypatch.setattr(LayerTap, "_index", lambda self, latest, ids: -1)
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        test_several_positions_a_forward("llama", "prompt lookup")


def test_states_of_drafts_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompt lookup asks processors about tokens that no forward has read."""
    monkeypatch.setattr(generate_call, "_asks_for_drafts", lambda frame: False)
    with pytest.raises(ValueError, match="is this the model that generates"):
        test_several_positions_a_forward("llama", "prompt lookup")


def test_a_later_call_of_the_head_is_caught(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(dict[int, Tensor]):
        def __contains__(self, layer: object) -> bool:
            return False

    right = layer_tap.Pass
    monkeypatch.setattr(layer_tap, "Pass", lambda ids, start, **flags: right(ids, start, Forgetful(), **flags))
    with pytest.raises((AssertionError, IndexError)):
        test_forwards_of_others_do_not_count(model)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_state_shared_by_threads_is_caught(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_tap, "Latest", lambda: SimpleNamespace(forward=None, foreign=False))
    with pytest.raises(AssertionError):
        test_threads_do_not_meet(model)
