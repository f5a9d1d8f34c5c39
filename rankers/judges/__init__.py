"""Judges: rankers by answers, by a model's confidence, by reward models and by models that are asked."""
