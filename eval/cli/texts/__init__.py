"""Commands that continue prompts: their texts, and why each token."""
