"""What a model is by its content: every file counts, names of folders do not, and large ones are known by samples."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from counterpoint.eval import AMATEUR, revisions
from counterpoint.eval.choosing import parse_decoder
from counterpoint.eval.revisions import fingerprint, models_of, revision, tokenizer_fingerprint


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The amateur elsewhere, with a sub-folder."""
    folder = shutil.copytree(AMATEUR, tmp_path / "a")
    (folder / "1_Dense").mkdir()
    (folder / "1_Dense" / "weights.bin").write_bytes(bytes(range(200)))
    return folder


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "generation_config.json", "1_Dense/weights.bin"])
def test_every_file_counts(copy: Path, file: str) -> None:
    before = revision(str(copy))
    content = bytearray((copy / file).read_bytes())
    content[-1] ^= 1
    (copy / file).write_bytes(content)
    assert revision(str(copy)) != before
    content[-1] ^= 1
    (copy / file).write_bytes(content)
    assert revision(str(copy)) == before


def test_names_of_folders_and_hidden_files_do_not_count(copy: Path) -> None:
    before = revision(str(copy))
    (copy / ".lock").touch()
    (copy / ".cache").mkdir()
    (copy / ".cache" / "x").write_text("x")
    assert revision(str(copy.rename(copy.with_name("b")))) == before
    (copy.with_name("b") / "1_Dense" / "weights.bin").rename(copy.with_name("b") / "1_Dense" / "other.bin")
    assert revision(str(copy.with_name("b"))) != before


def test_large_weights_are_sampled(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beginning, middle and end of each file, its size and its time."""
    monkeypatch.setattr(revisions, "WHOLE", 1000)
    monkeypatch.setattr(revisions, "SAMPLE", 64)
    large = copy / "large.bin"
    content = bytearray(1024)

    def known() -> str:
        large.write_bytes(content)
        import os

        os.utime(large, ns=(0, 0))  # a change that its time does not tell
        revisions.hash_of.cache_clear()
        return revision(str(copy))

    before = known()
    for place, seen in ((0, True), (63, True), (64, False), (500, True), (1023, True)):
        content[place] ^= 1
        assert (known() != before) == seen
        content[place] ^= 1
    content.append(0)
    assert known() != before


def test_weights_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(AMATEUR)
    weight: Any = model.get_input_embeddings().weight
    whole = fingerprint(model)
    monkeypatch.setattr(revisions, "WHOLE", 1000)
    sampled = fingerprint(model)
    with torch.no_grad():
        weight[0, 0] += 1
    assert fingerprint(model) != sampled
    monkeypatch.undo()
    assert fingerprint(model) != whole


def test_tokenizers() -> None:
    one, other = AutoTokenizer.from_pretrained(AMATEUR), AutoTokenizer.from_pretrained(AMATEUR)
    assert tokenizer_fingerprint(one) == tokenizer_fingerprint(other)
    other.chat_template = "{{ messages }}"
    assert tokenizer_fingerprint(one) != tokenizer_fingerprint(other)
    other = AutoTokenizer.from_pretrained(AMATEUR)
    other.add_tokens(["whale-song"])
    assert tokenizer_fingerprint(one) != tokenizer_fingerprint(other)


def test_models_in_choices_count(copy: Path) -> None:
    spec = parse_decoder(f"best_of:ranker=[likelihood:path={copy},decoder=[contrastive_decoding:amateur={AMATEUR}]]")
    before = models_of(spec, "x")
    assert {"path": revision(str(copy))} in before
    assert {"amateur": revision(str(AMATEUR))} in before
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    assert models_of(spec, "x") != before
    with pytest.raises(FileNotFoundError, match="amateur=nowhere is neither a local folder nor a model of the Hugging Face hub"):
        models_of(parse_decoder("contrastive_decoding:amateur=nowhere"), "x")
