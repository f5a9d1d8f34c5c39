"""Decoding methods for ``generate`` of Hugging Face transformers.

The public names are those of ``__init__.pyi``, each imported from its module when it is first used.
"""

from counterpoint.decoders.lazy import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)
