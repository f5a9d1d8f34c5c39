"""Checkpoints of RankGen: the published layouts, this library's, and what is refused; nothing in a pickle is ever run."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import T5EncoderModel

from counterpoint.rankers import RankGenRanker
from counterpoint.rankers.rankgen import array_pickles
from counterpoint.rankers.rankgen.array_pickles import read_arrays
from ranker_laws import CANDIDATES, PREFIXES, same
from rankgen_cases import EMBEDDING, SHARED, published_state_dict, tiny_config, tiny_encoder, tiny_tokenizer, write_published


def expected() -> list[Tensor]:
    return RankGenRanker(tiny_encoder(), tiny_tokenizer()).score(PREFIXES, CANDIDATES)


def load(folder: Path, **arguments: Any) -> RankGenRanker:
    return RankGenRanker.from_pretrained(folder, tokenizer=tiny_tokenizer(), **arguments)


def published(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> Path:
    """The tiny checkpoint as published, but for a change of its state dict."""
    return write_published(folder, tiny_config(), change(published_state_dict(tiny_config())))


def legacy(folder: Path, protocol: int = pickle.DEFAULT_PROTOCOL, dtype: str = "<f4", order: Any = "C") -> Path:
    """The tiny checkpoint as two pickles: T5X's matrices are the transposes of torch's, but for the embedding."""
    state_dict = {name: weights.numpy() for name, weights in published_state_dict(tiny_config()).items() if name != SHARED}
    projection = state_dict.pop("projection.weight").T
    arrays = {
        name.removeprefix("t5_encoder."): weights if name == EMBEDDING else np.transpose(weights)
        for name, weights in state_dict.items()
    }
    folder.mkdir(exist_ok=True)
    for file, content in (("state_dict", arrays), ("projection", projection)):
        copied = (
            {name: np.array(weights, dtype, order=order) for name, weights in content.items()}
            if isinstance(content, dict)
            else np.array(content, dtype, order=order)
        )
        (folder / f"{file}.pickle").write_bytes(pickle.dumps(copied, protocol))
    return folder


def test_the_published_layout(tmp_path: Path) -> None:
    same(load(published(tmp_path)).score(PREFIXES, CANDIDATES), expected())


def test_the_published_layout_as_safetensors_holds_one_of_the_two_embeddings(tmp_path: Path) -> None:
    for number, absent in enumerate((SHARED, EMBEDDING)):
        folder = published(tmp_path / str(number))
        (folder / "pytorch_model.bin").unlink()
        state_dict = published_state_dict(tiny_config())
        save_file({name: state_dict[name] for name in state_dict if name != absent}, folder / "model.safetensors", {"format": "pt"})
        same(load(folder).score(PREFIXES, CANDIDATES), expected())


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(("dtype", "order"), [("<f4", "C"), (">f4", "F"), ("<f8", "F")])
def test_the_legacy_layout(tmp_path: Path, protocol: int, dtype: str, order: str) -> None:
    same(load(legacy(tmp_path, protocol, dtype, order)).score(PREFIXES, CANDIDATES), expected())


def test_broken_transposition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = legacy(tmp_path)
    monkeypatch.setattr(Tensor, "t", lambda array: array)
    with pytest.raises((AssertionError, ValueError)):
        same(load(folder).score(PREFIXES, CANDIDATES), expected())


@pytest.mark.parametrize("layout", [published, legacy])
def test_saving_and_loading_back(tmp_path: Path, layout: Callable[[Path], Path]) -> None:
    load(layout(tmp_path / "theirs")).save_pretrained(tmp_path / "ours")
    saved = load_file(tmp_path / "ours" / "model.safetensors")
    weights = published_state_dict(tiny_config())
    assert saved.keys() == weights.keys() - {EMBEDDING}
    assert all(torch.equal(saved[name], weights[name]) for name in saved)
    assert "auto_map" not in json.loads((tmp_path / "ours" / "config.json").read_text(encoding="utf-8"))
    assert not list((tmp_path / "ours").glob("*.bin"))
    same(RankGenRanker.from_pretrained(tmp_path / "ours").score(PREFIXES, CANDIDATES), expected())  # its own tokenizer


@pytest.mark.parametrize("kind", ["gated-gelu", "relu"])
def test_any_size(tmp_path: Path, kind: str) -> None:
    config = tiny_config(d_model=20, d_kv=6, d_ff=28, num_layers=3, num_heads=4, feed_forward_proj=kind)
    state_dict = published_state_dict(config)
    one = load(write_published(tmp_path / "one", config, state_dict))
    legacy_arrays = {
        name.removeprefix("t5_encoder."): (weights if name == EMBEDDING else weights.t()).numpy()
        for name, weights in state_dict.items()
        if name not in (SHARED, "projection.weight")
    }
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "state_dict.pickle").write_bytes(pickle.dumps(legacy_arrays))
    (tmp_path / "two" / "projection.pickle").write_bytes(pickle.dumps(state_dict["projection.weight"].t().numpy()))
    same(load(tmp_path / "two").score(PREFIXES, CANDIDATES), one.score(PREFIXES, CANDIDATES))


def test_dtype_and_settings_are_passed_on(tmp_path: Path) -> None:
    judged = load(published(tmp_path), dtype=torch.bfloat16, truncation="released", batch_size=5, device="cpu")
    assert judged.encoder.projection.weight.dtype == torch.bfloat16
    assert (judged.truncation, judged.batch_size) == ("released", 5)


def test_a_folder_without_a_tokenizer_asks_for_one(tmp_path: Path) -> None:
    """Instead of the empty one that transformers makes for T5."""
    with pytest.raises(OSError, match=r"holds no tokenizer .* google/t5-v1_1-base cannot be fetched; pass tokenizer="):
        RankGenRanker.from_pretrained(published(tmp_path))


def without(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda weights: {key: weights[key] for key in weights if key != name}


WO = "t5_encoder.encoder.block.1.layer.1.DenseReluDense.wo.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without(WO), rf"is not a checkpoint of RankGen: 1 of its weights are wrong: {WO} is missing"),
        (without("projection.weight"), "projection.weight is missing"),
        (lambda weights: {**weights, "extra.weight": torch.ones(2)}, "extra.weight is unexpected"),
        (
            lambda weights: {**weights, "projection.weight": torch.ones(2, 2)},
            r"projection.weight has shape \[2, 2\], not \[24, 24\]",
        ),
        (lambda weights: {**weights, "projection.weight": torch.full((24, 24), torch.nan)}, "projection.weight is not finite in"),
    ],
)
def test_wrong_weights_are_named(tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(published(tmp_path, change))


def test_weights_that_a_dtype_cannot_hold_are_named(tmp_path: Path) -> None:
    folder = published(tmp_path, lambda weights: {**weights, "projection.weight": torch.full((24, 24), 1e5)})
    with pytest.raises(ValueError, match=r"projection.weight is not finite in torch.float16; .* take float32"):
        load(folder, dtype=torch.float16)


def test_another_t5_is_no_rankgen(tmp_path: Path) -> None:
    T5EncoderModel(tiny_config()).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"is not a checkpoint of RankGen"):
        load(tmp_path)


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_the_payload_would_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran")))  # noqa: S301
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("plain", [True, False])
def test_malicious_weights_are_refused_and_do_not_run(tmp_path: Path, plain: bool) -> None:
    folder, payload = published(tmp_path / "model"), Payload(tmp_path / "ran")
    if plain:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(payload, 2))
    else:
        torch.save({**published_state_dict(tiny_config()), "extra": payload}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="a pickle that holds more than weights, or is damaged"):
        load(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("file", ["state_dict.pickle", "projection.pickle"])
def test_malicious_arrays_are_refused_and_do_not_run(tmp_path: Path, file: str, protocol: int) -> None:
    folder = legacy(tmp_path / "model")
    for content in (Payload(tmp_path / "ran"), {"encoder.final_layer_norm.weight": Payload(tmp_path / "ran")}):
        (folder / file).write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(ValueError, match=rf"{file} is not read, .* it names (posix|os|nt)\.mkdir"):
            load(folder)
    assert not (tmp_path / "ran").exists()


def test_broken_unpickler_runs_the_payload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = legacy(tmp_path / "model")
    (folder / "state_dict.pickle").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    monkeypatch.setattr(array_pickles, "ArrayUnpickler", pickle.Unpickler)
    with pytest.raises(ValueError, match="it holds NoneType where an array belongs"):
        load(folder)
    assert (tmp_path / "ran").exists()


FLOAT32 = "cnumpy\ndtype\n(Vf4\nI0\nI1\ntR(I3\nV<\nNNNI-1\nI-1\nI0\ntb"
ARRAY = "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntVb\ntR"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("cbuiltins\neval\n(V1+1\ntR.", "it names builtins.eval"),
        ("cbuiltins\ngetattr\n.", "it names builtins.getattr"),
        ("cnumpy\nload\n(V/etc/passwd\ntR.", "it names numpy.load"),
        ("cnumpy\nndarray.tofile\n.", "it names numpy.ndarray.tofile"),
        ("ctorch\nload\n.", "it names torch.load"),
        ("cnumpy\nndarray\n(I1000000\ntR.", "'NoneType' object is not callable"),
        ("cnumpy\ndtype\n(VO\ntR.", "it has arrays of 'O', and weights are of f2, f4, f8"),
        ("cnumpy\ndtype\n(VV99\ntR.", "it has arrays of 'V99'"),
        (f"{ARRAY}(I1\n(I3\nt{FLOAT32}I00\nVabc\ntb.", "string argument without an encoding"),
        (f"{ARRAY}(I1\n(I3\nt{FLOAT32}I00\nc_codecs\nencode\n(Vabcd\nVlatin1\ntRtb.", r"an array of shape \[3\] and 4 bytes"),
        (f"{ARRAY}(I1\n(I-1\nI-1\nt{FLOAT32}I00\nc_codecs\nencode\n(Vabcd\nVlatin1\ntRtb.", r"shape \[-1, -1\] and 4 bytes"),
        (f"{ARRAY}.", "'NoneType' object has no attribute 'torch'"),
        ("I1\n.", "it holds int where an array belongs"),
        ("Phere\n.", "persistent"),
        ("(lp0\ng0\na.", "recursion"),
        (".", "index|empty|underflow"),
        ("", "Ran out of input"),
    ],
)
def test_programs_are_refused(tmp_path: Path, program: str, message: str) -> None:
    (tmp_path / "state_dict.pickle").write_bytes(program.encode())
    with pytest.raises(ValueError, match=rf"(?s)is not read, since it is not a pickle of NumPy arrays alone: .*({message})"):
        read_arrays(tmp_path / "state_dict.pickle")


def test_a_pickle_cannot_change_what_the_next_one_gets(tmp_path: Path) -> None:
    """A program that sets attributes of what it is given has them set on objects of its own."""
    good, bad = tmp_path / "good.pickle", tmp_path / "bad.pickle"
    good.write_bytes(pickle.dumps(np.ones((2, 1), dtype=np.float32)))
    for name in ("numpy.core.multiarray\n_reconstruct", "numpy\ndtype", "_codecs\nencode", "numpy.core.numeric\n_frombuffer"):
        bad.write_bytes(f"c{name}\n(N(dV__defaults__\n(I1\ntstb.".encode())
        with pytest.raises(ValueError, match="it holds function where an array belongs"):
            read_arrays(bad)
        assert torch.equal(read_arrays(good), torch.ones(2, 1))


@settings(max_examples=60)
@given(data=st.data())
def test_damaged_pickles_are_refused_or_arrays(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.pickle"
    content = bytearray(pickle.dumps({"a": np.arange(6, dtype=np.float32).reshape(2, 3)}, data.draw(st.integers(2, 5))))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
            st.integers(0, 255).filter(lambda byte: byte not in b"rp")
        )  # memos of any size
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        found = read_arrays(path)
    except (ValueError, MemoryError):
        return
    assert isinstance(found, dict | Tensor | list | tuple)


def test_legacy_pickles_of_something_else_are_named(tmp_path: Path) -> None:
    folder = legacy(tmp_path)
    content = (folder / "projection.pickle").read_bytes()
    (folder / "projection.pickle").write_bytes((folder / "state_dict.pickle").read_bytes())
    with pytest.raises(ValueError, match=r"projection.pickle an array"):
        load(folder)
    (folder / "projection.pickle").write_bytes(content)
    (folder / "state_dict.pickle").write_bytes(pickle.dumps({"weight": np.ones((2, 2), dtype=np.float32)}))
    with pytest.raises(ValueError, match=r"is not an encoder of T5: it lacks .*relative_attention_bias.weight"):
        load(folder)


def test_names_of_the_hub_are_fetched_without_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def fetched(name: str, allow_patterns: list[str]) -> str:
        asked[name] = allow_patterns
        return str(published(tmp_path))

    monkeypatch.setattr("counterpoint.rankers.rankgen.checkpoints.snapshot_download", fetched)
    same(RankGenRanker.from_pretrained("owner/rankgen", tokenizer=tiny_tokenizer()).score(PREFIXES, CANDIDATES), expected())
    assert not any(pattern.endswith(".py") or pattern == "*" for pattern in asked["owner/rankgen"])
