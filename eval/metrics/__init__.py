"""Measures of generated texts, one idea a file."""
