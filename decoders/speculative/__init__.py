"""Contrastive decoding that verifies drafts of several tokens in one forward."""
