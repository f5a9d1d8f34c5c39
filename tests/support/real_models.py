"""Where models lie that ``get_models.py`` unpacks; tests that need one are skipped by name without it."""

from __future__ import annotations

from pathlib import Path

REAL_MODELS = Path.home() / ".cache" / "counterpoint-models"
