"""``counterpoint bench``: one module a command of it."""
