"""Chats with images: through the model's own processor, one prompt at a time, or refused by name."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from chats import jsonl
from counterpoint.decoders import (
    ContrastiveDecodingLogitsProcessor,
    InputsAmateur,
    diffusion_noise,
    extrapolation,
    score,
)
from counterpoint.eval import AMATEUR
from counterpoint.eval.cli.main import main

Image = pytest.importorskip("PIL.Image", reason="processors need Pillow")

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}:{% for part in m.content %}"
    "{% if part.type == 'image' %}<image>{% else %} {{ part.text }}{% endif %}{% endfor %}\n{% endfor %}assistant:"
)
COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that reads images, its processor, and images."""
    path = tmp_path_factory.mktemp("pictures")
    tokenizer: Any = AutoTokenizer.from_pretrained(AMATEUR)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    ends = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**sizes, image_size=16, patch_size=8),
        text_config=LlamaConfig(**sizes, vocab_size=len(tokenizer), **ends),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    model.generation_config.pad_token_id = tokenizer.eos_token_id
    model.save_pretrained(path)
    images = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    options = dict(patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1)
    LlavaProcessor(images, tokenizer, chat_template=TEMPLATE, **options).save_pretrained(path)
    for name, colour in COLOURS.items():
        Image.new("RGB", (20, 20), colour).save(path / f"{name}.png")
    return path


def chat(folder: Path, name: str, key: str = "path") -> list[dict[str, Any]]:
    """A question on an image."""
    return [
        {"role": "user", "content": [{"type": "image", key: str(folder / f"{name}.png")}, {"type": "text", "text": "What is it?"}]}
    ]


def expected(folder: Path, messages: list[dict[str, Any]]) -> str:
    """What the model says, by transformers alone."""
    processor: Any = LlavaProcessor.from_pretrained(folder)
    model: Any = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    inputs = processor.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
    )
    ids = model.generate(**inputs, do_sample=False, max_new_tokens=6)
    return str(processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))


def test_images_are_seen(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [expected(folder, chat(folder, name)) for name in COLOURS]
    assert texts[0] != texts[1]
    rows = [{"messages": chat(folder, "red")}, {"prompt": "What is it?"}, {"messages": chat(folder, "blue", "url")}]
    command = ["generate", "--file", jsonl(tmp_path / "rows.jsonl", *rows), "--model", str(folder), "--device", "cpu"]
    command += ["--decoder", "greedy", "--max-new-tokens", "6"]
    capsys.readouterr()
    for more in ([], ["--batch-size", "4"]):
        assert main([*command, "--json", *more]) == 0
        found = [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]
        assert [text.strip() for text in (found[0], found[2])] == [text.strip() for text in texts]


def test_a_processor_that_is_missing_is_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in folder.iterdir():
        if "processor" not in file.name:
            (bare / file.name).write_bytes(file.read_bytes())
    rows = jsonl(tmp_path / "rows.jsonl", {"messages": chat(folder, "red")})
    assert main(["generate", "--file", rows, "--model", str(bare), "--device", "cpu", "--decoder", "greedy"]) == 1
    assert f"the processor of {bare} cannot be loaded" in capsys.readouterr().err
    assert (
        main(["generate", "What is it?", "--model", str(bare), "--device", "cpu", "--decoder", "greedy", "--max-new-tokens", "3"])
        == 0
    )


def contrasted(folder: Path, messages: list[dict[str, Any]], view: str) -> tuple[Any, Any, Any, Any]:
    """The model, its processor, the inputs and those of the worse view, by transformers alone."""
    processor: Any = LlavaProcessor.from_pretrained(folder)
    model: Any = LlavaForConditionalGeneration.from_pretrained(folder).eval()

    def read(content: list[dict[str, Any]]) -> Any:
        chat = [{"role": "user", "content": content}]
        return processor.apply_chat_template(chat, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True)

    picture, words = messages[0]["content"]
    inputs = read([picture, words])
    if view == "noise":
        chance = torch.Generator().manual_seed(3)
        other = {**inputs, "pixel_values": diffusion_noise(inputs["pixel_values"], step=999, generator=chance)}
    elif view == "none":
        other = read([words])
    else:
        other = read([picture, {"type": "text", "text": "Invent."}, words])
    return model, processor, inputs, other


CHOICES = {"noise": ["noise_step=999", "seed=3"], "none": ["view=none"], "instruction": ["view=instruction", "instruction=Invent."]}


@pytest.mark.parametrize("view", CHOICES)
def test_views_by_name(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], view: str) -> None:
    """``generate`` by ``image=`` and by messages says what the amateur in Python says, and ``score`` gives its probabilities."""
    messages = chat(folder, "red")
    model, processor, inputs, other = contrasted(folder, messages, view)
    by_hand = ContrastiveDecodingLogitsProcessor(InputsAmateur(model, other), alpha=0.1, form=partial(extrapolation, beta=1.0))
    ids = model.generate(**inputs, logits_processor=[by_hand], do_sample=False, max_new_tokens=6)
    expected = str(processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)).strip()
    command = ["generate", "--model", str(folder), "--device", "cpu", "--max-new-tokens", "6", "--json"]
    command += ["--decoder", "visual_contrastive", *CHOICES[view]]
    capsys.readouterr()
    assert main([*command, "--file", jsonl(tmp_path / "rows.jsonl", {"messages": messages})]) == 0
    assert json.loads(capsys.readouterr().out)["text"].strip() == expected
    compare = f"visual_contrastive:image={folder / 'red.png'},{','.join(CHOICES[view])}"
    options = ["--model", str(folder), "--device", "cpu", "--max-new-tokens", "6", "--json"]
    assert main(["generate", "What is it?", *options, "--compare", "greedy", compare]) == 0
    greedy, contrast = (json.loads(line)["text"].strip() for line in capsys.readouterr().out.splitlines())
    assert contrast == expected
    plain = model.generate(**inputs, do_sample=False, max_new_tokens=6)[0, inputs["input_ids"].shape[1] :]
    assert greedy == str(processor.tokenizer.decode(plain, skip_special_tokens=True)).strip()  # the picture is the prompt's

    rows = jsonl(tmp_path / "answers.jsonl", {"messages": messages, "candidates": [" a ship", " the sea"]})
    decoder = ["--decoder", "visual_contrastive", *CHOICES[view]]
    assert main(["score", rows, "--model", str(folder), "--device", "cpu", "--json", *decoder]) == 0
    found = json.loads(capsys.readouterr().out)["log_probabilities"]
    own = ContrastiveDecodingLogitsProcessor(InputsAmateur(model, other), alpha=0.0, form=partial(extrapolation, beta=1.0))
    (expected_scores,) = score(model, processor.tokenizer, [dict(inputs)], [[" a ship", " the sea"]], own)
    torch.testing.assert_close(torch.tensor(found), torch.tensor([each.total for each in expected_scores]), atol=1e-4, rtol=0)


def test_what_is_wrong_with_a_view_is_said_before_the_model_is_read(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, problem in (
        (["visual_contrastive"], "a prompt has no picture; give image=FILE"),
        (["visual_contrastive", f"image={tmp_path}/none.png"], "there is no such file"),
        (["visual_contrastive", "noise_step=1000"], "noise_step=1000"),
    ):
        assert main(["generate", "What is it?", "--model", "absent/absent", "--decoder", *words]) == 2
        assert problem in capsys.readouterr().err
    image = f"image={folder / 'red.png'}"
    for more, code, problem in ((["view=blur"], 2, "view=blur is not one of"), (["rate=0.1"], 1, "rate=0.1 is of view=none")):
        command = ["generate", "What?", "--model", str(folder), "--device", "cpu", "--max-new-tokens", "4"]
        assert main([*command, "--decoder", "visual_contrastive", image, *more]) == code
        assert problem in capsys.readouterr().err
