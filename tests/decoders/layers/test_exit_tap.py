"""Exits that pass the head together with the last state are those that pass it by themselves, and the head is given back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LogitsProcessor, PreTrainedModel

from counterpoint.decoders import DoLaLogitsProcessor, LayerFusionLogitsProcessor, SLEDLogitsProcessor
from counterpoint.decoders.forwards import exit_tap
from counterpoint.decoders.forwards.exit_tap import ExitTap, Joined
from counterpoint.decoders.forwards.layer_tap import Pass
from counterpoint.decoders.forwards.layers import Unembedding
from families import FAMILY, prompts

PLAIN: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
SOME = ["llama", "gpt2", "cohere", "opt_350m", "gemma2_sliding", "mamba"]
BUILD: dict[str, Callable[[PreTrainedModel], LogitsProcessor]] = {
    "one layer": lambda model: DoLaLogitsProcessor(model, layers=[1]),
    "several": lambda model: DoLaLogitsProcessor(model, layers=[0, 1]),
    "with norm": lambda model: DoLaLogitsProcessor(model, layers=[0, 1], final_norm=True),
    "sled": SLEDLogitsProcessor,
    "fusion": lambda model: LayerFusionLogitsProcessor(model, model, layers=[1], fusion_weight=0.5),
}


@pytest.fixture
def model() -> PreTrainedModel:
    return FAMILY["llama"].build()


def generated(model: PreTrainedModel, processor: LogitsProcessor, **options: Any) -> tuple[Tensor, Tensor]:
    """Ids, and the scores of every step."""
    ids, mask = prompts(model, (9, 6, 4) if FAMILY["llama"].padded and model.config.model_type == "llama" else (9,))
    output = model.generate(
        ids,
        attention_mask=mask,
        logits_processor=[processor],
        output_scores=True,
        return_dict_in_generate=True,
        **(PLAIN | options),
    )
    return output.sequences, torch.stack(output.scores)


def agree(model: PreTrainedModel, build: Callable[[PreTrainedModel], LogitsProcessor], **options: Any) -> int:
    """Joint and separate exits give the same scores; the number of joint products."""
    products: list[Pass] = []

    def counted(hidden: Tensor, early: Tensor, head: nn.Module, latest: Pass) -> Joined:
        products.append(latest)
        return joined(hidden, early, head, latest)

    joined = Joined.of
    with separate():
        ids, scores = generated(model, build(model), **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Joined, "of", counted)
        joint_ids, joint_scores = generated(model, build(model), **options)
    assert torch.equal(joint_ids, ids)
    torch.testing.assert_close(joint_scores, scores, atol=1e-3, rtol=1e-3)
    assert "forward" not in vars(model.get_output_embeddings())
    return sum(latest.unembedded is not None for latest in products)


@contextmanager
def separate() -> Iterator[None]:
    """Within the context nothing travels with the last state."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExitTap, "complete", lambda self, latest, hidden: False)
        yield


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("method", BUILD)
def test_joint_is_separate(name: str, method: str) -> None:
    taps = 2 if method == "fusion" else 1
    assert agree(FAMILY[name].build(), BUILD[method]) == taps * (PLAIN["max_new_tokens"] - 1), "all steps but the prompt's"


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"use_cache": False}, {"prompt_lookup_num_tokens": 3}], ids=str)
def test_in_other_modes(options: dict[str, Any], model: PreTrainedModel) -> None:
    if "prompt_lookup_num_tokens" in options:
        ids, mask = prompts(model, (9,))
        processor = DoLaLogitsProcessor(model, layers=[1])
        plain = model.generate(ids, attention_mask=mask, logits_processor=[processor], **PLAIN)
        drafted = model.generate(ids, attention_mask=mask, logits_processor=[processor], **PLAIN, **options)
        assert torch.equal(drafted, plain)
        return
    assert (agree(model, BUILD["several"], **options) > 0) == ("num_beams" in options), "without a cache a step is not one token"


def test_exits_of_another_row_are_caught(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    cat = torch.cat
    flipped = SimpleNamespace(cat=lambda parts: cat([parts[0], parts[1].flip(1)]), stack=torch.stack, _C=torch._C)
    monkeypatch.setattr(exit_tap, "torch", flipped)
    with pytest.raises(AssertionError):
        agree(model, BUILD["several"])


def test_nobody_else_sees_it(model: PreTrainedModel) -> None:
    """A plain ``generate`` on the same model, before and after, with the processor alive."""
    ids, mask = prompts(model, (9, 6))
    options = PLAIN | {"attention_mask": mask, "output_logits": True, "return_dict_in_generate": True}
    before = model.generate(ids, **options).logits
    processor = DoLaLogitsProcessor(model, layers=[1])
    model.generate(ids, logits_processor=[processor], **options)
    after = model.generate(ids, **options).logits
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_two_on_one_model(model: PreTrainedModel) -> None:
    """The exits of the later one travel with the last state, and the earlier one unembeds by itself."""
    first, second = DoLaLogitsProcessor(model, layers=[1]), DoLaLogitsProcessor(model, layers=[2])
    alone = generated(model, first)[0], generated(model, second)[0]
    both = [first, second]
    ids, mask = prompts(model, (9, 6, 4))
    together = model.generate(ids, attention_mask=mask, logits_processor=both, **PLAIN)
    fresh = [DoLaLogitsProcessor(model, layers=[1]), DoLaLogitsProcessor(model, layers=[2])]
    with separate():
        expected = model.generate(ids, attention_mask=mask, logits_processor=fresh, **PLAIN)
    assert torch.equal(together, expected)
    assert torch.equal(generated(model, first)[0], alone[0])
    assert torch.equal(generated(model, second)[0], alone[1])


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_forward_that_fails_leaves_the_head_as_it_was(error: type[BaseException], model: PreTrainedModel) -> None:
    processor = DoLaLogitsProcessor(model, layers=[1])
    expected, before = generated(model, processor), dict(vars(model.lm_head))
    steps = 0

    def stop(*_: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise error

    handle = model.model.layers[1].register_forward_pre_hook(stop)
    try:
        with pytest.raises(error):
            generated(model, processor)
    finally:
        handle.remove()
    assert vars(model.lm_head) == before
    assert torch.equal(generated(model, processor)[0], expected[0])


def test_threads_do_not_meet(model: PreTrainedModel) -> None:
    """One object for all of them: the head belongs to whoever is inside, and each thread gets its own exits."""
    processor = DoLaLogitsProcessor(model, layers=[1])
    texts = [prompts(model, (length,))[0] for length in (6, 9, 12, 7)]
    options = PLAIN | {"max_new_tokens": 30}
    expected = [model.generate(ids, logits_processor=[DoLaLogitsProcessor(model, layers=[1])], **options) for ids in texts]
    found: dict[int, Tensor] = {}

    def call(number: int) -> None:
        found[number] = model.generate(texts[number], logits_processor=[processor], **options)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number].tolist() for number in range(len(texts))] == [ids.tolist() for ids in expected]
    assert "forward" not in vars(model.lm_head)


def test_what_travels_is_the_last_state_to_all_but_the_head(model: PreTrainedModel) -> None:
    hidden, other = torch.randn(2, 1, 4), torch.nn.Linear(4, 3)
    head, latest = torch.nn.Linear(4, 5), Pass(None, 0)
    parts = Unembedding(nn.ModuleList(), head, [], (2.0, None), final_norm=False)
    joined = Joined.of(hidden, torch.zeros(1, 2, 1, 4), parts, latest)
    assert type(joined * 2) is type(joined[:, -1]) is type(other(joined)) is Tensor
    assert torch.equal(joined * 2, hidden * 2)
    assert torch.equal(other(joined), other(hidden))
    assert latest.unembedded is None
    with torch.no_grad():
        torch.testing.assert_close(head(joined), head(hidden))
    torch.testing.assert_close(latest.unembedded, 2 * head.bias.expand(1, 2, 5))
    torch.testing.assert_close(latest.last, 2 * head(hidden)[:, -1])


def test_hooks_of_others_see_the_last_state(model: PreTrainedModel) -> None:
    """Those that came before the tap's and those that came after it."""
    seen: list[Tensor] = []

    def watch(module: nn.Module, arguments: tuple[Tensor]) -> None:
        seen.append(arguments[0] + 0)

    first = model.lm_head.register_forward_pre_hook(watch)
    processor = DoLaLogitsProcessor(model, layers=[1])
    last = model.lm_head.register_forward_pre_hook(watch)
    generated(model, processor)
    assert all(type(each) is Tensor for each in seen)
    assert all(torch.equal(*pair) for pair in zip(seen[::2], seen[1::2], strict=True))
    first.remove()
    last.remove()


def test_a_head_that_another_has_wrapped_is_left_alone(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = model.lm_head.forward

    def wrapped(hidden: Tensor) -> Tensor:
        return plain(hidden)

    monkeypatch.setitem(vars(model.lm_head), "forward", wrapped)
    processor = DoLaLogitsProcessor(model, layers=[1])
    generated(model, processor)
    assert vars(model.lm_head)["forward"] is wrapped
