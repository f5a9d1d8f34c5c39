"""LOL by name: fusion and refocus at once, where its instruction stands, and the methods that it becomes without them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from counterpoint.decoders import LayerFusionLogitsProcessor, PromptAmateur, decoder
from counterpoint.decoders.choosing.builders import LOL_GUIDE

QUESTION = "Q: What is the largest animal?\nA:"
CHAT = [{"role": "user", "content": "What is the largest animal?"}]
CHATML = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def scores(model: Any, tokenizer: Any, arguments: dict[str, Any]) -> tuple[list[int], torch.Tensor]:
    """Ten greedy tokens after the question, and what they were chosen by."""
    output = model.generate(
        **tokenizer(QUESTION, return_tensors="pt"),
        **arguments,
        max_new_tokens=10,
        return_dict_in_generate=True,
        output_scores=True,
    )
    return output.sequences[0].tolist(), torch.cat(output.scores)


def test_both_halves_are_on(expert: Any, amateur: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    guide = PromptAmateur(expert, tokenizer(f"{LOL_GUIDE}\n\n{QUESTION}", return_tensors="pt"))
    layers = [expert.config.num_hidden_layers // 2]
    made = LayerFusionLogitsProcessor(expert, amateur, layers=layers, fusion_weight=0.5, guide=guide, refocus_weight=0.5, alpha=0.1)
    ids, found = scores(expert, tokenizer, decoder("lol", expert, tokenizer, amateur=amateur, prompts=QUESTION))
    expected_ids, expected = scores(expert, tokenizer, {"logits_processor": [made], "do_sample": False})
    assert ids == expected_ids
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("settings", "other"),
    [
        ({"refocus_weight": 0.0}, "layer_fusion"),
        ({"refocus_weight": 0.0, "fusion_weight": 0.0}, "induce_then_contrast"),
        ({"refocus_weight": 0.0, "fusion_weight": 0.0, "alpha": 1.0}, "greedy"),
    ],
)
def test_degenerate_settings_are_known_methods(
    settings: dict[str, float], other: str, expert: Any, amateur: Any, tokenizer: PreTrainedTokenizerBase
) -> None:
    given = {"amateur": amateur, "prompts": QUESTION}
    ids, found = scores(expert, tokenizer, decoder("lol", expert, tokenizer, **given, **settings))
    expected_ids, expected = scores(expert, tokenizer, decoder(other, expert, tokenizer, **given))
    assert ids == expected_ids
    if other != "greedy":
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    _, whole = scores(expert, tokenizer, decoder("lol", expert, tokenizer, **given))
    assert not torch.allclose(whole[0], found[0], atol=1e-2)  # so that leaving both on would be seen


def test_where_the_instruction_stands(expert: Any, amateur: Any, tokenizer: PreTrainedTokenizerBase, monkeypatch: Any) -> None:
    monkeypatch.setattr(tokenizer, "chat_template", CHATML)

    def guide(prompts: Any, **settings: Any) -> str:
        arguments = decoder("lol", expert, tokenizer, amateur=amateur, prompts=prompts, **settings)
        return str(tokenizer.decode(arguments["logits_processor"][0].guide.prompt[0], skip_special_tokens=True)).strip()

    assert guide(QUESTION) == f"{LOL_GUIDE}\n\n{QUESTION}"
    assert guide([CHAT]) == f"<system>{LOL_GUIDE}\n<user>What is the largest animal?\n<assistant>"
    own = [{"role": "system", "content": "Be brief."}, *CHAT]
    assert guide([own]) == f"<system>Be brief.\n\n{LOL_GUIDE}\n<user>What is the largest animal?\n<assistant>"
    assert guide([CHAT], message="user") == f"<user>{LOL_GUIDE}\n\nWhat is the largest animal?\n<assistant>"
    assert guide(QUESTION, guide="Be honest.") == f"Be honest.\n\n{QUESTION}"
    mixed = decoder("lol", expert, tokenizer, amateur=amateur, prompts=[QUESTION, CHAT])["logits_processor"][0].guide.prompt
    texts = tokenizer.batch_decode(mixed, skip_special_tokens=True)
    assert [text.strip().split("\n")[0] for text in texts] == [LOL_GUIDE, f"<system>{LOL_GUIDE}"]


def test_errors(expert: Any, amateur: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    for settings, message in (
        ({"prompts": QUESTION, "message": "system"}, "the prompts are texts"),
        ({}, r"decoder lol needs prompts=\[...\]"),
    ):
        with pytest.raises(ValueError, match=message):
            decoder("lol", expert, tokenizer, amateur=amateur, **settings)
