"""Forward passes: over given texts, over k candidates, along a model's own cache; and the hidden states on their way."""
