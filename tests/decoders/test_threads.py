"""Several threads generate from one model at once, by one object each of every method: each gets the tokens it gets alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from counterpoint.decoders import DoLaLogitsProcessor, install, uninstall
from counterpoint.decoders.forwards.layers import EarlyExits
from every_method import METHODS
from families import FAMILY, prompts

PLAIN: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
LENGTHS = ((9, 6), (5, 7), (8, 8), (11, 4))


def at_once(model: PreTrainedModel, calls: Sequence[tuple[int, dict[str, Any]]]) -> list[list[list[int]]]:
    """The texts of calls in a thread each, which begin together."""
    found: dict[int, list[list[int]]] = {}
    start = threading.Barrier(len(calls))

    def call(number: int, text: int, arguments: dict[str, Any]) -> None:
        start.wait()
        found[number] = generated(model, text, arguments)

    threads = [threading.Thread(target=call, args=(number, *each)) for number, each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[number] for number in range(len(calls))]


def generated(model: PreTrainedModel, text: int, arguments: dict[str, Any]) -> list[list[int]]:
    ids, mask = prompts(model, LENGTHS[text % len(LENGTHS)][: 1 if "amateur" in arguments else 2])
    found: Tensor = model.generate(ids, attention_mask=mask, **PLAIN, **arguments)
    return found.tolist()


def check(names: Sequence[str], rounds: int) -> None:
    """As many threads as names, and one that generates plainly; ``rounds`` times."""
    install()
    try:
        model, amateur = FAMILY["llama"].build(), FAMILY["gpt2"].build()
        made = [*(METHODS[name](model, amateur) for name in names), {}]
        expected = {(text, number): generated(model, text, made[number]) for text in range(4) for number in range(len(made))}
        for turn in range(rounds):
            calls = [((turn + number) % 4, each) for number, each in enumerate(made)]
            found = at_once(model, calls)
            assert found == [expected[text, number] for number, (text, _) in enumerate(calls)]
    finally:
        uninstall()


def test_exits_are_found_while_others_generate() -> None:
    """A thread's forward runs while another's looks for what lies between layers and head."""
    model = deepcopy(FAMILY["llama"].build())
    alone, ids = EarlyExits(model, final_norm=True), torch.tensor([[5, 6]])
    others = [threading.Thread(target=model, args=(ids,)) for _ in range(2)]

    def meanwhile(*_: Any) -> None:
        if threading.current_thread() is threading.main_thread() and others:
            other = others.pop()
            other.start()
            other.join()

    handles = [module.register_forward_hook(meanwhile) for module in (model.model.layers[-1], model.model.norm)]
    found = EarlyExits(model, final_norm=True)
    for handle in handles:
        handle.remove()
    assert not others
    assert found.parts.between == alone.parts.between
    states = torch.randn(1, 2, model.config.hidden_size)
    assert torch.equal(found(states), alone(states))


def test_a_forward_while_hooks_are_registered() -> None:
    """Torch puts a hook into its list before it notes that the hook takes arguments by name."""
    model = deepcopy(FAMILY["llama"].build())
    processor, ids = DoLaLogitsProcessor(model, layers=[1]), torch.tensor([[5, 6]])
    expected = model(ids).logits
    for module in model.modules():
        module._forward_pre_hooks_with_kwargs.clear()
        module._forward_hooks_with_kwargs.clear()
    assert torch.equal(model(ids).logits, expected)
    assert processor is not None


@pytest.mark.parametrize("name", METHODS)
def test_one_object_in_three_threads(name: str) -> None:
    install()
    try:
        model, amateur = FAMILY["llama"].build(), FAMILY["gpt2"].build()
        arguments = METHODS[name](model, amateur)
        expected = [generated(model, text, arguments) for text in range(4)]
        assert at_once(model, [(text, arguments) for text in (0, 1, 2)]) == expected[:3]
        assert at_once(model, [(text, arguments) for text in (3, 0, 1)]) == [expected[3], expected[0], expected[1]]
    finally:
        uninstall()


def test_all_methods_at_once() -> None:
    check(list(METHODS), rounds=1)


@pytest.mark.slow
def test_a_hundred_rounds() -> None:
    check(["contrastive search", "dola", "contrastive decoding", "speculative"], rounds=100)
