"""Forwards that keep their shapes: static caches with slots for candidates, and compiled models."""
