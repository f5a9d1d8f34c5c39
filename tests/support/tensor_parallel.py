"""Every method on a model that two processes hold together: ``torchrun --nproc-per-node 2 tensor_parallel.py FOLDER``.

``FOLDER`` holds a small Llama for each seed. Each process writes there what came of every method.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from small_llama import outcomes


def main() -> None:
    """Judge the sharded models by whole ones."""
    folder = Path(sys.argv[1])
    torch.distributed.init_process_group("gloo")
    seeds = iter((0, 1))

    def sharded(_: Any) -> Any:
        model: Any = AutoModelForCausalLM.from_pretrained(folder / str(next(seeds)), tp_plan="auto", dtype=torch.float32)
        return model.eval().requires_grad_(False)

    found = outcomes(sharded, lambda model: model)
    (folder / f"outcomes-{torch.distributed.get_rank()}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
