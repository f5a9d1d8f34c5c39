"""Samplers: which tokens may be drawn, as logits processors."""
