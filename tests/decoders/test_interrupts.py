"""Whatever a call changes is as it was after Ctrl-C at any line, and after errors of what the call asks: L11."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from itertools import count
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from counterpoint.decoders import (
    AdapterAmateur,
    ContrastiveDecodingLogitsProcessor,
    install,
    score,
    uninstall,
)
from counterpoint.decoders.undoing import Change
from counterpoint.rankers import OverlapRanker, ranked_search
from every_method import METHODS, Method, processor
from families import FAMILY, prompts
from interrupts import faults, interrupted, points, state

PLAIN: dict[str, Any] = {"max_new_tokens": 3, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
Record = Callable[[str, object], None]


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    """``dola_layers`` is an argument of ``generate``."""
    install()
    yield
    uninstall()


def pair(name: str = "llama") -> tuple[PreTrainedModel, PreTrainedModel]:
    """A model and another one, whose hooks and settings are nobody else's."""
    model, amateur = deepcopy(FAMILY[name].build()), deepcopy(FAMILY[name].build())
    with torch.no_grad():
        for weight in amateur.parameters():
            weight.mul_(0.9)
    return model, amateur


def check(method: Method, model: PreTrainedModel, amateur: PreTrainedModel, chosen: slice = slice(None)) -> int:
    """No interrupt of ``generate`` leaves anything behind; their number."""
    rows = 1 if method is METHODS["speculative"] else 2
    ids, mask = prompts(model, (9, 6)[:rows])
    plain = partial(model.generate, ids, attention_mask=mask, **PLAIN)
    arguments = method(model, amateur)
    return none_of(faults(partial(plain, **arguments), plain, [model, amateur], chosen))


def none_of(found: Iterator[str]) -> int:
    *left, number = found
    assert left == []
    return int(number.split()[0])


@pytest.mark.interrupts
@pytest.mark.parametrize("name", METHODS)
def test_ctrl_c_at_any_line_of_a_method(name: str, record_property: Record) -> None:
    record_property("interrupts", check(METHODS[name], *pair()))


@pytest.mark.interrupts
@pytest.mark.parametrize("name", ["contrastive search", "contrastive search as a processor", "contrastive decoding"])
@pytest.mark.parametrize("family", ["bloom", "mamba"])
def test_ctrl_c_at_any_line_on_other_families(name: str, family: str, record_property: Record) -> None:
    record_property("interrupts", check(METHODS[name], *pair(family)))


@pytest.mark.interrupts
def test_ctrl_c_at_any_line_under_an_adapter(record_property: Record) -> None:
    model, amateur = pair()
    tuned = get_peft_model(model, LoraConfig(target_modules=["q_proj"], init_lora_weights=False)).eval()
    tuned.base_model.disable_adapter_layers()
    method = processor(lambda model, _: ContrastiveDecodingLogitsProcessor(AdapterAmateur(tuned)))
    record_property("interrupts", check(method, model, amateur))


@pytest.mark.interrupts
@pytest.mark.parametrize("name", ["dola", "sled", "layer fusion", "contrastive decoding", "frustratingly simple, vectors"])
def test_ctrl_c_at_any_line_of_scoring(
    name: str, expert: PreTrainedModel, amateur: PreTrainedModel, tokenizer: Any, record_property: Record
) -> None:
    model, other = deepcopy(expert), deepcopy(amateur)
    used = METHODS[name](model, other)["logits_processor"]
    inputs = tokenizer("The captain", return_tensors="pt")
    plain = partial(model.generate, **inputs, **PLAIN)

    def scores() -> Tensor:
        found = score(model, tokenizer, ["The captain"], [[" of the ship", " was"]], used)
        return torch.tensor([each.total for each in found[0]])

    record_property("interrupts", none_of(faults(scores, plain, [model, other])))


@pytest.mark.interrupts
def test_ctrl_c_at_any_line_of_a_ranked_search(
    amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, record_property: Record
) -> None:
    model = deepcopy(amateur)
    inputs = tokenizer("The captain", return_tensors="pt")
    plain = partial(model.generate, **inputs, **PLAIN)

    def call() -> Tensor:
        torch.manual_seed(0)
        drawn = {"do_sample": True, "custom_generate": ranked_search, "ranker": OverlapRanker(), "processing_class": tokenizer}
        return plain(**drawn, beams=2, candidates=2, tokens_per_round=2)

    record_property("interrupts", none_of(faults(call, plain, [model], slice(None, None, 3))))


@pytest.mark.parametrize(("name", "step"), [("contrastive search", 31), ("dola", 19), ("speculative", 31)])
def test_ctrl_c_at_some_lines(name: str, step: int) -> None:
    assert check(METHODS[name], *pair(), slice(3, None, step)) > 10


class Stopper(StoppingCriteria, BaseStreamer):
    """Raises at the third token, as a stopping criterion, a streamer, a processor or a layer."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error, self.number = error, count()

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if next(self.number) == 2:
            raise self.error
        return torch.zeros(len(arguments[0]), dtype=torch.bool) if isinstance(arguments[0], Tensor) else None

    def put(self, value: Any) -> None:
        self(None)

    def end(self) -> None:
        pass


@contextmanager
def failing_layer(model: Any, error: type[BaseException]) -> Iterator[dict[str, Any]]:
    handle = model.model.layers[1].register_forward_pre_hook(Stopper(error))
    try:
        yield {}
    finally:
        handle.remove()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["forward", "stopping criterion", "streamer"])
@pytest.mark.parametrize("name", METHODS)
def test_an_error_of_what_a_call_asks_leaves_nothing(name: str, where: str, error: type[BaseException]) -> None:
    if where == "streamer" and name in ("released, beams", "context-aware", "adacad", "coiecd", "m3id", "inputs"):
        pytest.skip("beams stream nothing, and neither do several rows")
    model, amateur = pair()
    rows = 2 if where != "streamer" and name != "speculative" else 1
    ids, mask = prompts(model, (9, 6)[:rows])
    plain = partial(model.generate, ids, attention_mask=mask, **PLAIN)
    arguments = METHODS[name](model, amateur)
    expected, unaided, before = plain(**arguments), plain(), state([model, amateur])
    stopper = {"stopping criterion": "stopping_criteria", "streamer": "streamer"}.get(where)
    if stopper is None:
        with failing_layer(model, error), pytest.raises(error):
            plain(**arguments)
    else:
        given: Any = Stopper(error)
        with pytest.raises(error):
            plain(**arguments, **{stopper: [given] if where == "stopping criterion" else given})
    assert state([model, amateur]) == before
    assert torch.equal(plain(), unaided)
    assert torch.equal(plain(**arguments), expected)


def late(self: Change, *error: Any) -> None:
    """Undo nothing where an error is on its way."""
    if error[0] is None:
        self.undo()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["contrastive search", "contrastive decoding"])
def test_what_is_left_behind_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contexts that do not undo after errors, in a thread with which goes what they leave behind."""
    monkeypatch.setattr(Change, "__exit__", late)
    with ThreadPoolExecutor(1) as thread, pytest.raises((AssertionError, ValueError)):
        thread.submit(check, METHODS[name], *pair(), slice(3, None, 5)).result()


def test_the_harness_comes_to_lines_of_the_library() -> None:
    model, amateur = pair()
    ids, mask = prompts(model, (9,))
    call = partial(model.generate, ids, attention_mask=mask, **PLAIN, **METHODS["contrastive decoding"](model, amateur))
    found = points(call)
    files = {point.line[0].rpartition("/")[2] for point in found}
    assert {"contrastive_decoding.py", "side_forward.py", "undoing.py", "prefix_cache.py"} <= files
    assert interrupted(call, found[0])
    assert not interrupted(model.generate.__self__.eval, found[0])
