"""Measures of generated text, the models embedded for offline use, and the command line."""

from pathlib import Path

from counterpoint.eval.metric_modules import load_metric
from counterpoint.eval.multiple_choice import mc1, mc2, mc3
from counterpoint.eval.repetition import diversity, rep_n

__all__ = ["AMATEUR", "EXPERT", "diversity", "load_metric", "mc1", "mc2", "mc3", "rep_n"]

EXPERT = Path(__file__).parent / "models" / "expert"
"""Folder of the embedded expert, a small English language model that loads without a network."""

AMATEUR = Path(__file__).parent / "models" / "amateur"
"""Folder of the embedded amateur: the expert's vocabulary, fewer parameters and less training."""
