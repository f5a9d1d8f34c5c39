"""Contrastive search: candidate against context."""
