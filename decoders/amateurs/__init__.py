"""Where the negative distribution comes from: another model, an adapter or another prompt."""
