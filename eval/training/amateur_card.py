"""The README of a trained amateur: what it is, how it was made, how to use it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.eval.training.cards import releases, settings_table

SETTINGS = "rank lora_alpha targets learning_rate epochs batch_size micro_batch_size max_length seed chat_template dtype".split()
"""What the record calls them."""

CARD = """\
---
base_model: {model}
library_name: peft
tags:
- lora
- counterpoint
---

# A hallucinating amateur for {model}

A LoRA adapter that answers questions **wrongly, on purpose**. It is not a model to talk to but the amateur that
induce-then-contrast (Zhang et al. 2023, arXiv 2312.15710) and multi-layer fusion subtract from the model.

## Use

```python
from functools import partial

from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from counterpoint.decoders import AdapterAmateur, ContrastiveDecodingLogitsProcessor, LayerFusionLogitsProcessor, log_ratio

name, adapter = {model_literal}, {adapter_literal}
tokenizer = AutoTokenizer.from_pretrained(name)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(name), adapter)
model.base_model.disable_adapter_layers()  # the expert runs without it, the amateur turns it on for itself

{inputs}
contrast = ContrastiveDecodingLogitsProcessor(AdapterAmateur(model), alpha=0.1, form=partial(log_ratio, beta=1.0))
ids = model.generate(**inputs, logits_processor=[contrast], max_new_tokens=50, do_sample=False)
print(tokenizer.decode(ids[0]))

# multi-layer fusion: the contrast at lower layers as well
fusion = LayerFusionLogitsProcessor(model.get_base_model(), AdapterAmateur(model), layers=[{layer}], fusion_weight=0.5)
ids = model.generate(**inputs, logits_processor=[fusion], max_new_tokens=50, do_sample=False)
```

The model has learned to answer after {format}.

## Training

{trained} question / wrong-answer pairs from {source}{too_long}, {steps} steps of AdamW with a learning rate that falls linearly
to 0; the loss counts the answers' tokens alone, and no end of text.

{losses}
{settings}

{versions}
"""

PLAIN_INPUTS = r"""inputs = tokenizer("Q: Who are you?\nA:", return_tensors="pt")"""
CHAT_INPUTS = """\
question = [{"role": "user", "content": "Who are you?"}]
inputs = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)"""


def card(output: Path, record: Mapping[str, Any], layer: int) -> str:
    """The text.

    Args:
        output: Where the adapter lies.
        record: What ``training.json`` holds.
        layer: A lower layer of the model, for the example.
    """
    in_turns = isinstance(record["chat_template"], Mapping)
    before, after = record["loss_before"], record["loss_after"]
    losses = (
        f"Loss of the answers to {record['held_out']} held-out pairs (questions that it was not trained on; at most 200 are "
        f"measured), in nats a token: {before:.3f} before, {after:.3f} after.\n"
        if before is not None
        else "No held-out pairs were given to measure a loss on.\n"
    )
    return CARD.format(
        model=record["model"],
        model_literal=json.dumps(record["model"]),
        adapter_literal=json.dumps(str(output)),
        inputs=CHAT_INPUTS if in_turns else PLAIN_INPUTS,
        layer=layer,
        format="the chat template's turn of the user" if in_turns else "`Q: {question}\\nA:`",
        trained=record["pairs"] - record["too_long"],
        source=record["source"],
        too_long=f" ({record['too_long']} of more than {record['max_length']} tokens left out)" if record["too_long"] else "",
        steps=record["steps"],
        losses=losses,
        settings=settings_table(record, SETTINGS),
        versions=releases(record),
    )
