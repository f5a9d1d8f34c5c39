"""A model's own first layers as a model: an amateur where its family has no smaller member.

Usage: ``python first_layers.py MODEL --layers 15 --output-dir amateur``. The folder has the embedding, the first layers, the final
norm and the unembedding as they are; nothing is trained, so it is what a layer says early, not a small model of the same data.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--layers", type=int, required=True)
    parser.add_argument("--output-dir", type=Path, default=Path("amateur"))
    arguments = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(arguments.model, num_hidden_layers=arguments.layers, dtype="auto")
    model.save_pretrained(arguments.output_dir)
    AutoTokenizer.from_pretrained(arguments.model).save_pretrained(arguments.output_dir)


if __name__ == "__main__":
    main()
