"""Training of hallucinating amateurs."""
