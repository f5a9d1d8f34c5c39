"""Ranked search: sampling in rounds, of which a ranker keeps the best beginnings."""
