"""Requests by the names of their decoders, and what ``generate`` of transformers answers to each, alone and in float32."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from counterpoint.decoders import AdapterAmateur, ContrastiveDecodingLogitsProcessor, decoder, log_ratio
from counterpoint.eval import AMATEUR, EXPERT

TOKENS = 64
PROMPTS = (
    "The whale rose from the sea and",
    "The captain was a woman, and her ship was made of glass.\n\nThe captain said that",
    "In the morning the old man",
    "It had not rained for a year, and the wells were dry.\n\nThat night the farmer heard",
    "She opened the door, and there before her in the dark stood the stranger, who",
    '"My dear sister," said he,',
)
"""Six prompts, two of them with a context before a blank line."""

WITHOUT: dict[str, Any] = {"without_context": None}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "greedy": ("greedy", {}),
    "contrastive_decoding": ("contrastive_decoding", {"amateur": "small"}),
    "contrastive_decoding, amateur at 0.5": ("contrastive_decoding:amateur_temperature=0.5", {"amateur": "small"}),
    "contrastive_reasoning": ("contrastive_reasoning", {"amateur": "small"}),
    "induce_then_contrast": ("induce_then_contrast:beta=2", {"amateur_adapter": "liar"}),
    "context_aware": ("context_aware:beta=1", WITHOUT),
    "adacad": ("adacad", WITHOUT),
    "coiecd": ("coiecd", WITHOUT),
    "m3id": ("m3id", WITHOUT),
    "frustratingly_simple": ("frustratingly_simple", {}),
}
"""By a name for the table, the decoder's choice and what its request says besides."""


@dataclass(frozen=True)
class Case:
    """A request."""

    method: str
    prompt: str

    @property
    def fields(self) -> dict[str, Any] | None:
        """Its ``vllm_xargs``."""
        choice, others = METHODS[self.method]
        name, _, values = choice.partition(":")
        if name == "greedy":
            return None
        given = dict(pair.split("=") for pair in values.split(",")) if values else {}
        values = {"decoder": name, **{key: float(value) for key, value in given.items()}, **others}
        return {**values, "without_context": self.prompt.rpartition("\n\n")[2]} if others is WITHOUT else values


def cases() -> list[Case]:
    """Every method on every prompt, or on those with a context, in an order that mixes them."""
    found = [
        Case(method, prompt)
        for prompt in PROMPTS
        for method, (_, fields) in METHODS.items()
        if fields is not WITHOUT or "\n\n" in prompt
    ]
    return [found[index] for step in range(7) for index in range(step, len(found), 7)]


def make_adapter(folder: Path) -> None:
    """An adapter of the expert that changes what it says."""
    torch.manual_seed(3)
    settings = LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(EXPERT, dtype=torch.float32), settings).save_pretrained(str(folder))


def references(adapter: Path) -> dict[Case, list[int]]:
    """The new tokens of each case by ``generate``, one at a time."""
    expert, amateur = (AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval() for path in (EXPERT, AMATEUR))
    base = AutoModelForCausalLM.from_pretrained(EXPERT, dtype=torch.float32)
    tuned: Any = PeftModel.from_pretrained(base, str(adapter)).eval()
    tuned.base_model.disable_adapter_layers()
    tokenizer = AutoTokenizer.from_pretrained(EXPERT)
    found = {}
    for case in cases():
        if case.method == "induce_then_contrast":
            induced = ContrastiveDecodingLogitsProcessor(AdapterAmateur(tuned), form=partial(log_ratio, beta=2.0))
            arguments: dict[str, Any] = {"logits_processor": [induced], "do_sample": False}
        else:
            arguments = decoder(METHODS[case.method][0], expert, tokenizer, amateur=amateur, prompts=[case.prompt])
        inputs = tokenizer(case.prompt, return_tensors="pt")
        ids = expert.generate(**inputs, **arguments, max_new_tokens=TOKENS, pad_token_id=tokenizer.eos_token_id)
        found[case] = ids[0, inputs.input_ids.shape[1] :].tolist()
    return found


def additional_config(adapter: Path) -> dict[str, Any]:
    """What the server is started with."""
    return {"counterpoint": {"amateurs": {"small": str(AMATEUR)}, "adapters": {"liar": str(adapter)}, "expert_copy": True}}


def table(equal: dict[str, list[bool]]) -> str:
    """How many texts of each method are equal."""
    lines = ["| method | equal texts |", "|---|---|"]
    lines += [f"| {method} | {sum(each)} of {len(each)} |" for method, each in equal.items()]
    every = [one for each in equal.values() for one in each]
    return "\n".join([*lines, f"| **all** | **{sum(every)} of {len(every)}** |"])


def compared(found: dict[Case, list[int]], expected: dict[Case, list[int]], end: int | None) -> dict[str, list[bool]]:
    """Whether the tokens of each case are equal, the end of text left out."""
    equal: dict[str, list[bool]] = {}
    for case, tokens in expected.items():
        same = [one for one in found[case] if one != end] == [one for one in tokens if one != end]
        equal.setdefault(case.method, []).append(same)
        if not same:
            print(f"NOT EQUAL: {case}\n  {found[case]}\n  {tokens}")
    return equal
