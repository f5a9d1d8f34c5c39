"""What transformers does not promise is touched in ``decoders/hf`` alone, so that a release that moves it is met there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from inspect import ismodule
from pathlib import Path

import pytest
import transformers
from transformers import (
    Cache,
    DynamicCache,
    EncoderDecoderCache,
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainingArguments,
)

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(path for wing in ("decoders", "rankers", "eval") for path in (ROOT / wing).rglob("*.py"))
OUTSIDE = [path for path in FILES if ROOT / "decoders" / "hf" not in path.parents]

PUBLIC_MODULES = {"logging"}
"""Submodules that transformers itself documents by this name."""

CLASSES = (
    Cache,
    DynamicCache,
    EncoderDecoderCache,
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainingArguments,
)
PRIVATE = {name for each in CLASSES for name in dir(each) if name.startswith("_") and not name.startswith("__")} | {
    "_bos_token_tensor",
    "_eos_token_tensor",
    "_n_gpu",
    "_pad_token_tensor",
}
"""Their private names, with those that instances get later."""

UNPROMISED = {
    "activate_past_recording",
    "conv_states",
    "cross_attention_cache",
    "cumulative_length",
    "f_locals",
    "has_previous_state",
    "is_croppable",
    "layer_class_to_replicate",
    "offloading",
    "prepare_inputs_for_generation",
    "record_past",
    "recurrent_states",
    "self_attention_cache",
    "sliding_window",
}
"""Names without an underscore that belong to the layers of a cache, to the frame of ``generate`` or to its steps."""


def touches(source: str) -> Iterator[str]:
    """Each use in ``source`` of what transformers does not promise, with its line."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (f"{node.lineno}: {each.name}" for each in names if each.name.startswith("transformers."))
            case ast.ImportFrom(module=str(module)) if module.startswith("transformers."):
                yield f"{node.lineno}: {module}"
            case ast.ImportFrom(module="transformers", names=names):
                yield from (f"{node.lineno}: {each.name}" for each in names if not is_public(each.name))
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass  # a class's own names
            case ast.Attribute(attr=name) if name in PRIVATE | UNPROMISED:
                yield f"{node.lineno}: .{name}"
            case ast.Call(func=ast.Name(id="getattr" | "setattr" | "hasattr"), args=[_, ast.Constant(value=name), *_]) if (
                name in PRIVATE | UNPROMISED
            ):
                yield f"{node.lineno}: {name!r}"


def is_public(name: str) -> bool:
    """Whether transformers exports ``name`` itself, and not a submodule."""
    return name in PUBLIC_MODULES or not ismodule(getattr(transformers, name))


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(ROOT)))
def test_outside_of_the_room_only_promises_are_relied_on(path: Path) -> None:
    assert list(touches(path.read_text(encoding="utf-8"))) == []


def test_the_room_is_looked_into_at_all() -> None:
    inside = [use for path in FILES if path not in OUTSIDE for use in touches(path.read_text(encoding="utf-8"))]
    assert len(inside) > 20
    assert len(OUTSIDE) > 100


@pytest.mark.parametrize(
    "source",
    [
        "import transformers.cache_utils",
        "from transformers.generation.utils import ALL_CACHE_NAMES",
        "from transformers import cache_utils",
        "def run(model, ids):\n    return model._prefill(ids)",
        "output = self.model._update_model_kwargs_for_generation(output, kwargs)",
        "config._attn_implementation = 'eager'",
        "getattr(GenerationMixin, '_sample')(model)",
        "cache.activate_past_recording()",
        "window = {layer.sliding_window for layer in cache.layers}",
        "arguments = frame.f_locals",
    ],
)
def test_a_touch_is_seen(source: str) -> None:
    assert list(touches(source)) != []


@pytest.mark.parametrize(
    "source",
    [
        "from transformers import Cache, logging",
        "self._sample(ids)",
        "model.generate(ids)",
        "cache.reorder_cache(rows)",
        "module._own_name",
        "from sentence_transformers.util import cos_sim",
    ],
)
def test_nothing_else_is(source: str) -> None:
    assert list(touches(source)) == []
