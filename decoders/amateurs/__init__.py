"""Where the negative distribution comes from: another model, an adapter, another prompt, the text so far."""
