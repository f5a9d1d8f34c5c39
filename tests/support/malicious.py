"""Artefacts that would run code, or break what reads them, each by a marker that must not appear."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from counterpoint.eval import AMATEUR
from counterpoint.rankers import SMALL


class Payload:
    """Unpickled, it writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.marker),)


def code(marker: Path) -> str:
    """A module that writes a file when it is imported, and has the classes that artefacts name."""
    classes = ("Config", "Model", "Tokenizer", "Processor", "Module")
    return f"import os\nos.mkdir({str(marker)!r})\n" + "".join(f"class {name}:\n    pass\n" for name in classes)


def copy_of(source: Path, folder: Path) -> Path:
    """A model's folder whose files can be changed."""
    shutil.copytree(source, folder, symlinks=False)
    return folder


def changed(path: Path, **settings: Any) -> None:
    """Settings of a JSON file, added or replaced."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**found, **settings}), encoding="utf-8")


def own_model(folder: Path, marker: Path) -> None:
    """A configuration and a model of its own code."""
    (folder / "own.py").write_text(code(marker), encoding="utf-8")
    maps = {"AutoConfig": "own.Config", "AutoModel": "own.Model", "AutoModelForCausalLM": "own.Model"}
    changed(folder / "config.json", model_type="own", auto_map=maps)


def own_tokenizer(folder: Path, marker: Path) -> None:
    """A tokenizer of its own code."""
    (folder / "own.py").write_text(code(marker), encoding="utf-8")
    changed(folder / "tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map={"AutoTokenizer": ["own.Tokenizer", None]})


def own_generation(folder: Path, marker: Path) -> None:
    """A way to generate of its own code, beside an ordinary model."""
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(
        code(marker) + "def generate(model, **_):\n    pass\n", encoding="utf-8"
    )


def template(folder: Path, marker: Path) -> None:
    """A chat template that calls what it can reach."""
    text = "{{ cycler.__init__.__globals__.os.mkdir('" + str(marker) + "') }}"
    (folder / "chat_template.jinja").write_text(text, encoding="utf-8")


def pickled(folder: Path, marker: Path) -> None:
    """Weights as a pickle that calls a function."""
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Payload(marker)}, folder / "pytorch_model.bin")


def pickled_plainly(folder: Path, marker: Path) -> None:
    """The same, not as torch saves it."""
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Payload(marker)}))


def header(length: int, content: bytes = b"{}") -> Callable[[Path, Path], None]:
    """Safetensors whose header says that it has this length."""

    def write(folder: Path, marker: Path) -> None:
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", length % 2**64) + content)

    return write


def offsets(begin: int, end: int) -> Callable[[Path, Path], None]:
    """Safetensors whose tensor lies elsewhere."""
    content = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [begin, end]}}).encode()
    return header(len(content), content)


def bomb(folder: Path, marker: Path) -> None:
    """A pickle of torch's format in which 64 MB of zeros are 64 kB."""
    (folder / "model.safetensors").unlink()
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 2**26)
        archive.writestr("archive/version", "3")


def outside(folder: Path, marker: Path) -> None:
    """Weights that are a link out of the folder."""
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("/etc/passwd")


MODELS: Mapping[str, Callable[[Path, Path], None]] = {
    "own model": own_model,
    "own tokenizer": own_tokenizer,
    "pickle": pickled,
    "plain pickle": pickled_plainly,
    "huge header": header(2**62),
    "negative header": header(-1),
    "header beyond the end": header(1000),
    "header that is no JSON": header(4, b"\xff\xfe{}"),
    "negative offsets": offsets(-8, 0),
    "offsets beyond the end": offsets(0, 2**40),
    "bomb": bomb,
    "link": outside,
}
"""Ways to spoil the folder of a model, which is then refused."""

HARMLESS: Mapping[str, Callable[[Path, Path], None]] = {"own generation": own_generation}
"""Those that leave the model in order: it loads, and the code does not run."""


def model(kind: str, folder: Path, marker: Path, source: Path = AMATEUR) -> Path:
    """A spoiled copy of a model."""
    copy_of(source, folder)
    {**MODELS, **HARMLESS, "template": template}[kind](folder, marker)
    return folder


def ranker(kind: str, folder: Path, marker: Path) -> Path:
    """A spoiled copy of the embedded ranker."""
    return model(kind, folder, marker, SMALL)


def write_adapter(folder: Path, marker: Path, kind: str) -> Path:
    """An adapter of PEFT: a pickle that calls a function, a damaged header, or the weights of another model."""
    folder.mkdir()
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    changed(folder / "adapter_config.json", **config, base_model_name_or_path="x")
    if kind == "pickle":
        torch.save({"weight": Payload(marker)}, folder / "adapter_model.bin")
    elif kind == "huge header":
        (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    else:
        name = "base_model.model.transformer.h.0.attn.q_proj.lora_{}.weight"
        save_file({name.format("A"): torch.ones(2, 8), name.format("B"): torch.ones(8, 2)}, folder / "adapter_model.safetensors")
    return folder


def own_module(folder: Path, marker: Path) -> None:
    """A model of sentence-transformers whose first module is of its own code."""
    (folder / "own.py").write_text(code(marker), encoding="utf-8")
    modules = [{"idx": 0, "name": "0", "path": "", "type": "own.Module"}]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
