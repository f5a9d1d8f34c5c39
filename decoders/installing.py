"""Plain ``generate(penalty_alpha=..., top_k=...)`` and ``generate(dola_layers=...)`` in transformers 5, without remote code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from transformers import GenerationConfig

from counterpoint.decoders.hf.modes import GenerationMode, give_back_modes, missing_modes, take_over_modes
from counterpoint.decoders.layers.dola import dola
from counterpoint.decoders.search.contrastive_search import contrastive_search

METHODS: dict[GenerationMode, Callable[..., Any]] = {
    GenerationMode.CONTRASTIVE_SEARCH: contrastive_search,
    GenerationMode.DOLA_GENERATION: dola,
}


def install() -> None:
    """Give every model in this process the modes of ``generate`` that transformers 4 had.

    transformers 5 sends their arguments to repositories on a hub and asks for ``trust_remote_code``. After this call

    - ``model.generate(penalty_alpha=0.6, top_k=5)`` runs :func:`~counterpoint.decoders.contrastive_search`, and
    - ``model.generate(dola_layers="high")``, "low" or a list of layers, greedy search or sampling with
      :class:`~counterpoint.decoders.DoLaLogitsProcessor` before all other processors, so that ``repetition_penalty=1.2`` applies to
      the contrast, as there. Each row chooses its own layer, where transformers 4 chose one for the batch. Layers beyond
      the model's depth, and ``dola_layers`` with beams or an assistant, are refused, where it left them out.

    ``streamer``, ``synced_gpus`` and ``stop_strings`` work as in every other mode. Calling it twice is calling it once;
    :func:`uninstall` undoes it.

    ``generate_batch`` (continuous batching) takes no decoder of its caller and would write greedy text without a word; after this
    call it refuses ``logits_processor``, ``custom_generate``, ``penalty_alpha`` and ``dola_layers``. Without it nothing of this
    library is asked there.

    Raises:
        RuntimeError: If this release of transformers no longer has the table of modes that this relies on.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import install, uninstall
        >>> from counterpoint.eval import AMATEUR
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(AMATEUR), AutoTokenizer.from_pretrained(AMATEUR)
        >>> inputs = tokenizer("The whale rose", return_tensors="pt")
        >>> install()
        >>> ids = model.generate(**inputs, penalty_alpha=0.6, top_k=5, max_new_tokens=20)
        >>> ids = model.generate(**inputs, dola_layers="high", repetition_penalty=1.2, max_new_tokens=20)
        >>> uninstall()
    """
    if missing := missing_modes(METHODS):
        raise RuntimeError(
            f"this release of transformers has no {', '.join(missing)} to redirect; use custom_generate=contrastive_search, or "
            "logits_processor=[DoLaLogitsProcessor(model)]"
        )
    take_over_modes(METHODS, check_dola_layers, check_batch)


def uninstall() -> None:
    """Give the modes of :func:`install` back to transformers. Without it before, nothing happens.

    Example:
        >>> from counterpoint.decoders import uninstall
        >>> uninstall()
    """
    give_back_modes()


def check_dola_layers(mode: GenerationMode, config: GenerationConfig) -> None:
    """No other mode ignores ``dola_layers``."""
    if config.dola_layers is not None and mode not in METHODS:
        raise ValueError(
            f"dola_layers={config.dola_layers!r} goes with greedy search and sampling, not with {mode.replace('_', ' ')}; for that "
            "pass logits_processor=[DoLaLogitsProcessor(model, layers=layers)] instead"
        )


def check_batch(config: GenerationConfig, arguments: Mapping[str, Any]) -> None:
    """No continuous batch ignores a decoder."""
    names = ("logits_processor", "custom_generate", "amateur", "penalty_alpha", "dola_layers")
    given = {name: arguments[name] for name in names if arguments.get(name) is not None}
    given |= {name: value for name in ("penalty_alpha", "dola_layers") if (value := getattr(config, name, None)) is not None}
    for name, value in given.items():
        shown = f"{name}={value!r}" if name in ("penalty_alpha", "dola_layers") else name
        raise ValueError(
            f"{shown}: continuous batching (generate_batch) has no such decoder and would write greedy text; use generate()"
        )
