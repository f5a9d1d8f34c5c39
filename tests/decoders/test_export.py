"""The directory form, loaded by ``generate`` from a string as a hub's tools do, without a network."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

import laws
from counterpoint.decoders import adaptive_contrastive_search, contrastive_search, export


@pytest.fixture(autouse=True)
def modules_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where transformers copies code that it loads."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))


def test_contrastive_search_from_a_directory(tmp_path: Path, amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    folder = export(tmp_path / "exported_cs")
    inputs = tokenizer(["It was", "The captain said that"], return_tensors="pt", padding=True)
    arguments = {**inputs, "penalty_alpha": 0.6, "top_k": 4, "max_new_tokens": 15, "do_sample": False}
    found = amateur.generate(**arguments, custom_generate=str(folder), trust_remote_code=True)
    assert found.tolist() == amateur.generate(**arguments, custom_generate=contrastive_search).tolist()


def test_strings_stop_and_stream_from_a_directory(
    tmp_path: Path, amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    folder = export(tmp_path / "exported_stop")
    inputs = tokenizer("It was", return_tensors="pt")
    listener = laws.Listener()
    found = amateur.generate(
        **inputs,
        penalty_alpha=0.6,
        top_k=4,
        max_new_tokens=40,
        do_sample=False,
        stop_strings=["e"],
        tokenizer=tokenizer,
        streamer=listener,
        custom_generate=str(folder),
        trust_remote_code=True,
    )
    assert listener.tokens == found[0].tolist()
    assert "e" in tokenizer.decode(found[0, -1])
    assert "e" not in tokenizer.decode(found[0, inputs.input_ids.shape[1] : -1])


def test_adaptive_search_in_a_model_repository(
    tmp_path: Path, amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    folder = tmp_path / "model_repository"
    amateur.save_pretrained(folder)
    export(folder, "adaptive_contrastive_search")
    inputs = tokenizer("It was", return_tensors="pt")
    loaded = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    found = loaded.generate(inputs.input_ids, max_new_tokens=15, do_sample=False)
    expected = amateur.generate(**inputs, max_new_tokens=15, do_sample=False, custom_generate=adaptive_contrastive_search)
    assert found.tolist() == expected.tolist()


def test_remote_code_needs_the_users_consent(tmp_path: Path, amateur: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "n")
    folder = export(tmp_path / "exported_refused")
    with pytest.raises(ValueError, match="trust_remote_code"):
        amateur.generate(max_new_tokens=3, custom_generate=str(folder), penalty_alpha=0.6, top_k=4)


def test_files(tmp_path: Path) -> None:
    folder = export(tmp_path / "cs")
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "README.md",
        "custom_generate/generate.py",
        "custom_generate/requirements.txt",
    ]
    assert (folder / "custom_generate/requirements.txt").read_text() == f"counterpoint>={version('counterpoint')}\n"
    compile((folder / "custom_generate/generate.py").read_text(), "generate.py", "exec")
    assert "custom_generate" in (folder / "README.md").read_text().split("---")[1]


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(FileExistsError, match=r"README.md exists already; choose another directory or pass overwrite=True"):
        export(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "mine"
    export(tmp_path, overwrite=True)
    assert "Contrastive search" in (tmp_path / "README.md").read_text()


def test_unknown_decoder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="decoder='nucleus' is not one of contrastive_search, adaptive_contrastive_search"):
        export(tmp_path / "x", "nucleus")
    assert not (tmp_path / "x").exists()
