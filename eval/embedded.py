"""The two language models that come with the package, so that everything runs without a network."""

from pathlib import Path

EXPERT = Path(__file__).parent / "models" / "expert"
"""Folder of the embedded expert, a small English language model that loads without a network."""

AMATEUR = Path(__file__).parent / "models" / "amateur"
"""Folder of the embedded amateur: the expert's vocabulary, fewer parameters and less training."""
