"""Training of rankers by InfoNCE over the passages of plain texts."""
