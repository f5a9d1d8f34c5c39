"""The tree of candidates at fixed shape, for static caches and compiled models."""
