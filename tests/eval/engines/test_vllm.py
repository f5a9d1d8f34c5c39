"""Contrasts in a batch that changes at every step: each row has the scores that ``generate``'s own processor gives its text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders import (
    AdaCADLogitsProcessor,
    AdapterAmateur,
    COIECDLogitsProcessor,
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    FrustratinglySimpleLogitsProcessor,
    M3IDLogitsProcessor,
    NGramAntiLanguageModel,
    PLessLogitsProcessor,
    TopNSigmaLogitsProcessor,
    extrapolation,
    likelihood_ratio,
    log_ratio,
)
from counterpoint.eval import AMATEUR, EXPERT
from counterpoint.eval.engines.vllm.requests import MOST, RANGE, SERVED, read_request
from vllm_stand_in import Asked, BatchUpdate, Engine, config, installed

QUESTION = "The captain said that"
PROMPTS = (
    "The whale rose",
    "The captain was a woman.\n\nThe captain said that",
    "In the morning",
    "It was",
    "She opened the door, and there before her in the dark stood the old man, who",
    "A",
)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the expert that changes what it says."""
    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(3)
    settings = LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(EXPERT, dtype=torch.float32), settings).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def loaded(adapter: Path) -> Iterator[Any]:
    """Makes the processor as vLLM does, with an amateur, an adapter and the expert once more."""
    additional = {"counterpoint": {"amateurs": {"small": str(AMATEUR)}, "adapters": {"liar": str(adapter)}, "expert_copy": True}}
    with installed():
        from counterpoint.eval.engines.vllm import ContrastProcessor

        yield ContrastProcessor(config(EXPERT, additional), torch.device("cpu"), False)


@pytest.fixture
def processor(loaded: Any) -> Any:
    """The same processor, with an empty batch."""
    loaded.rows.clear()
    loaded.contrast.scores({}, torch.zeros(0, 8192))
    return loaded


@pytest.fixture(scope="module")
def references(adapter: Path, tokenizer: PreTrainedTokenizerBase) -> Any:
    """By the decoder, what ``generate`` would call for a request."""
    expert, amateur = (AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval() for path in (EXPERT, AMATEUR))
    from peft import PeftModel

    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(EXPERT, dtype=torch.float32), str(adapter)).eval()
    tuned.base_model.disable_adapter_layers()
    question = tokenizer(QUESTION, return_tensors="pt")
    contrast = ContrastiveDecodingLogitsProcessor

    def of(name: str, width: int) -> Any:
        without = {"prompt_length": width}
        return {
            "ratio": lambda: contrast(amateur),
            "cool": lambda: contrast(amateur, alpha=0.2, form=partial(likelihood_ratio, amateur_temperature=0.5)),
            "reasoning": lambda: contrast(amateur, form=partial(extrapolation, beta=0.25)),
            "induced": lambda: contrast(AdapterAmateur(tuned), form=partial(log_ratio, beta=2.0)),
            "context": lambda: ContextAwareLogitsProcessor(expert, question, beta=1.0, **without),
            "adacad": lambda: AdaCADLogitsProcessor(expert, question, minimum=0.1, **without),
            "coiecd": lambda: COIECDLogitsProcessor(expert, question, ratio=2.0, **without),
            "m3id": lambda: M3IDLogitsProcessor(expert, question, rate=0.1, **without),
            "simple": lambda: FrustratinglySimpleLogitsProcessor(NGramAntiLanguageModel(n=2), top_k=4, penalty_alpha=0.5),
            "sigma": lambda: TopNSigmaLogitsProcessor(n=0.5),
            "p_less": lambda: PLessLogitsProcessor(norm=True),
        }[name]()

    return of


ASKED: dict[str, dict[str, Any]] = {
    "ratio": {"decoder": "contrastive_decoding", "amateur": "small"},
    "cool": {"decoder": "contrastive_decoding", "amateur": "small", "alpha": 0.2, "amateur_temperature": 0.5},
    "reasoning": {"decoder": "contrastive_reasoning", "amateur": "small", "beta": 0.25},
    "induced": {"decoder": "induce_then_contrast", "amateur_adapter": "liar", "beta": 2},
    "context": {"decoder": "context_aware", "without_context": QUESTION, "beta": 1},
    "adacad": {"decoder": "adacad", "without_context": QUESTION, "minimum": 0.1},
    "coiecd": {"decoder": "coiecd", "without_context": QUESTION, "ratio": 2},
    "m3id": {"decoder": "m3id", "without_context": QUESTION, "rate": 0.1},
    "simple": {"decoder": "frustratingly_simple", "n": 2, "top_k": 4, "penalty_alpha": 0.5},
    "sigma": {"decoder": "top_n_sigma", "n": 0.5},
    "p_less": {"decoder": "p_less", "norm": 1},
}


def logits_of(expert: PreTrainedModel) -> Any:
    """The expert's logits after a text alone."""

    def of(text: list[int]) -> Tensor:
        with torch.no_grad():
            logits: Tensor = expert(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1].float()
        return logits

    return of


def serve(
    processor: Any, expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, references: Any, names: Sequence[str], seed: int
) -> Engine:
    """Requests by the names of their decoders, "" for none, each of whose scores are compared at every step."""
    requests = [
        Asked(
            tokenizer(PROMPTS[place % len(PROMPTS)]).input_ids,
            ASKED.get(name),
            max_tokens=6 + 3 * (place % 3),
            unread=place % 2,
            temperature=0.7 if name == "p_less" else 0.0,
        )
        for place, name in enumerate(names)
    ]
    decoders = {id(request): references(name, len(request.prompt)) for name, request in zip(names, requests, strict=True) if name}

    def check(request: Asked, before: Tensor, after: Tensor) -> None:
        if id(request) not in decoders:
            assert torch.equal(before, after)
            return
        temperature = request.temperature or 1.0
        expected = decoders[id(request)](torch.tensor([[*request.prompt, *request.output]]), before[None] / temperature)[0]
        if temperature != 1.0:
            expected = before.masked_fill(expected == -torch.inf, -torch.inf)
        torch.testing.assert_close(after, expected, atol=1e-3, rtol=1e-4)

    engine = Engine(logits_of(expert), processor, width=4, seed=seed)
    engine.run(requests, check)
    assert all(len(request.output) == request.max_tokens for request in requests)
    return engine


@pytest.mark.parametrize("name", ASKED)
def test_rows_of_one_decoder(
    name: str, processor: Any, expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, references: Any
) -> None:
    serve(processor, expert, tokenizer, references, [name] * 6, seed=2)


@pytest.mark.parametrize("seed", range(3))
def test_mixed_rows_with_plain_ones_through_moves_and_preemptions(
    seed: int, processor: Any, expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, references: Any
) -> None:
    engine = serve(processor, expert, tokenizer, references, [*ASKED, "", "ratio", ""], seed)
    assert engine.preempted
    assert engine.moves


def test_a_step_is_one_forward_of_each_model_whatever_its_rows_ask_for(processor: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    small, liar, copy = (processor.contrast.negatives.amateurs[name] for name in ("small", "liar", ""))
    names = ("ratio", "cool", "reasoning", "induced", "context", "m3id", "simple")
    outputs: list[list[int]] = [[] for _ in names]
    prompt = tokenizer(PROMPTS[0]).input_ids
    added = [
        (index, SimpleNamespace(extra_args=ASKED[name], temperature=0.0), prompt, outputs[index])
        for index, name in enumerate(names)
    ]
    processor.update_state(BatchUpdate(len(names), added=added))
    processor.apply(torch.randn(len(names), 8192))
    before = [each.forwards for each in (small, liar, copy)]
    for output in outputs:
        output.append(9)
    processor.update_state(None)
    processor.apply(torch.randn(len(names), 8192))
    assert [each.forwards for each in (small, liar, copy)] == [forwards + 1 for forwards in before]
    assert [len(each.read.keys) for each in (small, liar, copy)] == [3, 1, 2]
    processor.update_state(BatchUpdate(0, removed=range(len(names))))
    processor.apply(torch.zeros(0, 8192))
    assert [len(each.read.keys) for each in (small, liar, copy)] == [0, 0, 0]


def test_the_comparison_notices_a_processor_that_ignores_moves(
    processor: Any, expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, references: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow = processor.update_state

    def without_moves(update: BatchUpdate | None) -> None:
        follow(update and BatchUpdate(update.batch_size, update.removed, update.added))

    monkeypatch.setattr(processor, "update_state", without_moves)
    with pytest.raises((AssertionError, IndexError)):
        serve(processor, expert, tokenizer, references, [*ASKED, "", "ratio", ""], seed=0)


def test_a_step_whose_tokens_are_not_known_yet_is_refused(processor: Any) -> None:
    params = SimpleNamespace(extra_args=ASKED["ratio"], temperature=0.0)
    processor.update_state(BatchUpdate(1, added=[(0, params, [5, 6], [-1])]))
    with pytest.raises(RuntimeError, match="--no-async-scheduling"):
        processor.apply(torch.zeros(1, 8192))
    processor.update_state(BatchUpdate(0, removed=[0]))


def test_bans_of_the_engine_hold(processor: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    params = SimpleNamespace(extra_args=ASKED["ratio"], temperature=0.0)
    processor.update_state(BatchUpdate(1, added=[(0, params, tokenizer(PROMPTS[0]).input_ids, [])]))
    logits = torch.randn(1, 8192)
    logits[0, :8000] = -torch.inf
    found = processor.apply(logits)
    assert bool((found[0, :8000] == -torch.inf).all())
    assert int(found.isfinite().sum()) > 0


def extremes() -> Iterator[dict[str, Any]]:
    """Requests with the smallest and the largest value of a parameter that are admitted."""
    for asked in ASKED.values():
        for key, parameter in SERVED[asked["decoder"]].parameters.items():
            if isinstance(parameter.default, int | float) and not isinstance(parameter.default, bool):
                most = min(parameter.high, MOST.get((asked["decoder"], key), RANGE[1]))
                kind = type(parameter.default)
                yield from ({**asked, key: kind(value)} for value in (parameter.low, RANGE[0], most))


@pytest.mark.parametrize("spread", [0.0, 1.0, 1e4])
def test_whatever_is_admitted_gives_some_token_a_score(spread: float, processor: Any) -> None:
    """An error here would end the server."""
    admitted = 0
    for asked in extremes():
        try:
            read_request(asked, processor.contrast.negatives.settings)
        except ValueError:
            continue
        admitted += 1
        for temperature in (0.0, 1e-2, 2.0):
            params = SimpleNamespace(extra_args=asked, temperature=temperature)
            processor.update_state(BatchUpdate(1, added=[(0, params, [5, 6, 7], [8, 9] * 3)]))
            found = processor.apply(torch.randn(1, 8192) * spread)
            assert not bool(found.isnan().any()), asked
            assert bool((found > -torch.inf).any()), asked
            processor.update_state(BatchUpdate(0, removed=[0]))
    assert admitted > 2 * len(ASKED)


@pytest.mark.parametrize("name", ASKED)
def test_bans_of_everything_do_not_end_the_server(name: str, processor: Any) -> None:
    """Other requests of the batch go on: one that allows nothing, or a token that no amateur knows, is its own affair."""
    params = SimpleNamespace(extra_args=ASKED[name], temperature=0.0)
    rows = [(index, params, [5, 6, 7], [8]) for index in range(3)]
    processor.update_state(BatchUpdate(3, added=rows))
    logits = torch.randn(3, 8192)
    logits[0] = -torch.inf
    logits[1, :-1] = -torch.inf
    known = {each: each.amateur.known_tokens for each in processor.contrast.negatives.amateurs.values()}
    try:
        for each in known:
            each.amateur.known_tokens = 8000
        found = processor.apply(logits.clone())
    finally:
        for each, tokens in known.items():
            each.amateur.known_tokens = tokens
    assert torch.equal(found[0], logits[0])
    assert int(found[1].argmax()) == 8191
    assert int((found[1] > -torch.inf).sum()) == 1
    assert bool((found[2] > -torch.inf).any())


def test_the_class_changes_the_likeliest_token_and_says_so(processor: Any) -> None:
    assert processor.is_argmax_invariant() is False


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speculative_config": object()}, "--speculative-config"),
        ({"served": {"enable_prompt_embeds": True}}, "--enable-prompt-embeds"),
        ({"served": {"is_multimodal_model": True}}, "text alone"),
        ({"served": {"max_model_len": 10**6}}, "--max-model-len"),
    ],
)
def test_servers_that_cannot_be_followed_do_not_start(changes: dict[str, Any], message: str) -> None:
    given = config(EXPERT, {"counterpoint": {"amateurs": {"small": str(AMATEUR)}}})
    vars(given).update({key: value for key, value in changes.items() if key != "served"})
    vars(given.model_config).update(changes.get("served", {}))
    with installed():
        from counterpoint.eval.engines.vllm import ContrastProcessor

        with pytest.raises(ValueError, match=message):
            ContrastProcessor(given, torch.device("cpu"), False)


def test_slots_of_the_v2_interface(
    processor: Any, expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, references: Any
) -> None:
    """By a stand-in of its states: slots in any order, a prompt in parts, a request that comes back, a slot that is used again."""
    tokens, prompt_len, prefill_len = torch.zeros(6, 64, dtype=torch.long), np.zeros(6, int), np.zeros(6, int)
    states = SimpleNamespace(
        device=torch.device("cpu"),
        all_token_ids=SimpleNamespace(gpu=tokens),
        prompt_len=SimpleNamespace(np=prompt_len),
        prefill_len=SimpleNamespace(np=prefill_len),
    )
    with installed():
        from counterpoint.eval.engines.vllm import ContrastProcessorV2

        v2 = ContrastProcessorV2(config(EXPERT, {}), states)
    v2.contrast = processor.contrast
    logits_after, texts, decoders = logits_of(expert), dict[int, list[int]](), dict[int, Any]()

    def enter(slot: int, name: str, prompt: list[int], output: Sequence[int] = ()) -> None:
        texts[slot], decoders[slot] = [*prompt, *output], references(name, len(prompt)) if name else None
        prompt_len[slot], prefill_len[slot] = len(prompt), len(texts[slot])
        params = SimpleNamespace(extra_args=ASKED.get(name), temperature=0.0)
        assert v2.add_request(slot, params) is bool(name)

    def step(slots: Sequence[int], partly: Sequence[int] = ()) -> None:
        lengths = [len(texts[slot]) - (slot in partly) for slot in slots]
        for slot in slots:
            tokens[slot, : len(texts[slot])] = torch.tensor(texts[slot])
        before = torch.stack([logits_after(texts[slot][:length]) for slot, length in zip(slots, lengths, strict=True)])
        last = torch.tensor([texts[slot][length - 1] for slot, length in zip(slots, lengths, strict=True)])
        layout = SimpleNamespace(idx_mapping_np=np.array(slots), input_ids=last, pos=torch.tensor(lengths) - 1)
        after = v2.apply(before.clone(), layout)
        for row, slot in enumerate(slots):
            expected = before[row]
            if decoders[slot] is not None and slot not in partly:
                expected = decoders[slot](torch.tensor([texts[slot]]), before[row][None])[0]
            torch.testing.assert_close(after[row], expected, atol=1e-3, rtol=1e-4)
            if slot not in partly:
                texts[slot].append(int(after[row].argmax()))

    ids = [tokenizer(prompt).input_ids for prompt in PROMPTS]
    enter(5, "ratio", ids[0])
    enter(2, "", ids[2])
    enter(3, "context", ids[1])
    step([5, 2, 3], partly=[3])
    step([3, 5, 2])
    step([2, 3])  # 5 is not in this step
    step([5, 3])
    enter(2, "simple", ids[4])
    enter(5, "ratio", ids[0], texts[5][len(ids[0]) :])  # preempted, and back
    step([5, 2, 3])
    step([3, 2, 5])


def test_another_name_is_no_class() -> None:
    import counterpoint.eval.engines.vllm as engine

    with pytest.raises(AttributeError, match="no attribute 'Contrast'"):
        engine.Contrast  # noqa: B018
