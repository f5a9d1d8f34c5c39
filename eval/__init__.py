"""Measures of generated text, the models embedded for offline use, and the command line.

A measure is one figure for all texts; ``lengths``, ``log_probabilities`` and what ends in ``_of_each`` give a value for each text,
whose mean is :func:`mean_over_texts`. Shares are fractions; tables print some of them in percent.

The public names are those of ``__init__.pyi``, each imported from its module when it is first used.
"""

from counterpoint.decoders.lazy import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)
