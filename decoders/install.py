"""Plain ``generate(penalty_alpha=..., top_k=...)`` in transformers 5, without remote code."""

from __future__ import annotations

from transformers import GenerationMixin
from transformers.generation.configuration_utils import GenerationMode
from transformers.generation.utils import GENERATION_MODES_MAPPING

from counterpoint.decoders.contrastive_search import contrastive_search

METHOD = "_counterpoint_contrastive_search"
MODE = GenerationMode.CONTRASTIVE_SEARCH
_originals: dict[GenerationMode, str] = {}


def install() -> None:
    """Make ``model.generate(penalty_alpha=0.6, top_k=4)`` contrastive search again, for every model in this process.

    transformers 5 sends these arguments to a repository on a hub and asks for ``trust_remote_code``; after this call they run
    :func:`~counterpoint.decoders.contrastive_search`, with ``streamer``, ``synced_gpus`` and ``stop_strings`` as in every other
    mode. Calling it twice is calling it once; :func:`uninstall` undoes it.

    Raises:
        RuntimeError: If this release of transformers no longer has the table of modes that this relies on.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import install, uninstall
        >>> from counterpoint.eval import AMATEUR
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(AMATEUR), AutoTokenizer.from_pretrained(AMATEUR)
        >>> inputs = tokenizer("The whale rose", return_tensors="pt")
        >>> install()
        >>> ids = model.generate(**inputs, penalty_alpha=0.6, top_k=4, max_new_tokens=20)
        >>> uninstall()
    """
    if MODE not in GENERATION_MODES_MAPPING:
        raise RuntimeError(
            "this release of transformers has no contrastive search mode to redirect; use custom_generate=contrastive_search"
        )
    setattr(GenerationMixin, METHOD, contrastive_search)
    _originals.setdefault(MODE, GENERATION_MODES_MAPPING[MODE])
    GENERATION_MODES_MAPPING[MODE] = METHOD


def uninstall() -> None:
    """Give ``generate(penalty_alpha=..., top_k=...)`` back to transformers. Without :func:`install` before, nothing happens.

    Example:
        >>> from counterpoint.decoders import uninstall
        >>> uninstall()
    """
    if MODE in _originals:
        GENERATION_MODES_MAPPING[MODE] = _originals.pop(MODE)
        delattr(GenerationMixin, METHOD)
