"""Train the two embedded language models from scratch on one processor core.

Usage: ``python train.py expert --corpus DIR --work DIR --output-dir DIR --plateau 12 --decay 4`` (then the same with ``amateur``).

The learning rates rise, stay, and fall to zero by the number of tokens seen (in millions), so that the same command makes the
same model on any machine, within its rounding. A checkpoint in ``--work`` is taken every few minutes and picked up when the
command is repeated; until the decay begins, ``--plateau`` may be changed as well, and the run is what it would have been.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from run import SPLITS, HeldOut, Run, Shape
from tokens import CONTEXT
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SHAPES = {
    "expert": Shape(),
    "amateur": Shape(width=128, layers=1, feed_forward=344, heads=2),
}
WINDOW, WARM_UP = 256, 200_000  # tokens
LOG, WATCH, KEEP = 20, 200, 100  # steps from one to the next


def rate(tokens: int, plateau: int, decay: int) -> float:
    """Learning rate after some tokens, relative to its peak: up, flat, and down to zero as one minus a square root."""
    if tokens < plateau:
        return min((tokens + 1) / WARM_UP, 1.0)
    return max(0.0, 1.0 - ((tokens - plateau) / decay) ** 0.5)


def window(tokens: int, plateau: int, decay: int) -> int:
    """Tokens a window has: the last half of the decay sees the whole context."""
    return CONTEXT if tokens >= plateau + decay // 2 else WINDOW


class Curve:
    """A JSON line every ``LOG`` steps; lines past a checkpoint that a run goes on from are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        self.path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self.seconds: float = json.loads(kept[-1])["seconds"] if kept else 0.0
        self.clock = time.process_time()

    def add(self, **values: float) -> None:
        """One more line, with the processor's seconds so far."""
        now = time.process_time()
        self.seconds, self.clock = self.seconds + now - self.clock, now
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**values, "seconds": round(self.seconds)}) + "\n")


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model with float16 weights that load as float32."""
    folder.mkdir(parents=True, exist_ok=True)
    tied = {"lm_head.weight"}  # the embedding again, which loading ties to it
    weights = {name: tensor.detach().half() for name, tensor in model.state_dict().items() if name not in tied}
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder, state_dict=weights)
    tokenizer.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for file in folder.iterdir():
        file.chmod(0o644)


def train(arguments: argparse.Namespace) -> None:
    """Train one model to the end of its schedule, and write it."""
    run = Run(SHAPES[arguments.model], arguments.corpus, arguments.work)
    checkpoint = arguments.work / f"{arguments.model}.pt"
    if checkpoint.exists():
        run.load(checkpoint)
    curve = Curve(arguments.work / f"{arguments.model}.jsonl", run.step_count)
    heldout = {split: HeldOut(arguments.corpus, split, run.tokenizer, 32) for split in SPLITS}
    print(f"{sum(parameter.numel() for parameter in run.model.parameters())} parameters", flush=True)
    plateau, decay = int(arguments.plateau * 1e6), int(arguments.decay * 1e6)
    losses: list[float] = []
    while run.tokens < plateau + decay:
        losses.append(run.step(rate(run.tokens, plateau, decay), window(run.tokens, plateau, decay)))
        if run.step_count % LOG == 0:
            watched = {split: heldout[split].bits_per_byte(run.model) for split in SPLITS} if run.step_count % WATCH == 0 else {}
            curve.add(step=run.step_count, tokens=run.tokens, loss=sum(losses) / len(losses), **watched)
            losses = []
        if run.step_count % KEEP == 0:
            run.save(checkpoint)
    run.save(checkpoint)
    save(run.model, run.tokenizer, arguments.output_dir)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=sorted(SHAPES))
    parser.add_argument("--corpus", type=Path, required=True, help="folder written by corpus.py")
    parser.add_argument("--work", type=Path, required=True, help="folder for the tokenizer, the checkpoint and the curve")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder of the finished model")
    parser.add_argument("--plateau", type=float, required=True, help="million tokens before the rates fall")
    parser.add_argument("--decay", type=float, required=True, help="million tokens while they fall")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
