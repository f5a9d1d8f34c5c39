"""Rankers that choose among candidates arrive in a later release."""
