"""What transformers does not promise: its caches, the ``generate`` call in progress, its samplers and its unembedding.

A release that moves something is met here and nowhere else.
"""
