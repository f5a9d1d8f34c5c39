"""Make a checkpoint small enough to hand on, with weights and moments in 16 bits.

Usage: ``python compact.py WORK/expert.pt checkpoint/expert.pt``

``train.py`` goes on from the result as from the checkpoint itself. What it goes on with is rounded, so the run that follows is a
close relative of the one that was never handed on, and not the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch


def halve(content: Any, dtype: torch.dtype) -> Any:
    """The same nest of dictionaries and lists with every matrix in 16 bits."""
    if isinstance(content, dict):
        return {key: halve(value, dtype) for key, value in content.items()}
    if isinstance(content, list):
        return [halve(value, dtype) for value in content]
    return content.to(dtype) if isinstance(content, torch.Tensor) and content.ndim == 2 else content


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    content = torch.load(arguments.checkpoint)
    content["model"] = halve(content["model"], torch.float16)
    content["model"]["lm_head.weight"] = content["model"]["model.embed_tokens.weight"]  # tied: stored once
    content["optimizers"] = halve(content["optimizers"], torch.bfloat16)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, arguments.output)


if __name__ == "__main__":
    main()
