"""Decoders that set deep layers against shallow ones."""
