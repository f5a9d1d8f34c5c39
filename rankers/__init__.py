"""Rankers, which choose among continuations of a text.

The public names are those of ``__init__.pyi``, each imported from its module when it is first used.
"""

from pathlib import Path

from counterpoint.decoders.lazy import exports

SMALL = Path(__file__).parent / "models" / "small"
"""Folder of the embedded ranker, a small RankGen that loads without a network; ``RankGenRanker.from_pretrained`` takes it."""

__getattr__, __dir__, __all__ = exports(__name__, __file__)
