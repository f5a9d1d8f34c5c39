"""Train the tokenizer and the two embedded language models from scratch on one processor core.

Usage: ``python train.py expert --corpus DIR --work DIR --output-dir DIR --minutes 95`` (then the same with ``amateur``).

The schedule is a function of the time spent training, so a run always ends with its learning rate decayed to zero. Checkpoints
in ``--work`` are taken every minute and picked up again when the same command is repeated.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY, CONTEXT, WINDOW = 2048, 512, 256
END, PAD = "<|endoftext|>", "<|padding|>"
SHAPES = {
    "expert": {"hidden_size": 256, "num_hidden_layers": 4, "intermediate_size": 688, "num_attention_heads": 4},
    "amateur": {"hidden_size": 96, "num_hidden_layers": 3, "intermediate_size": 256, "num_attention_heads": 3},
}


def documents(path: Path) -> list[str]:
    """The texts of a split written by ``corpus.py``."""
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


def build_tokenizer(corpus: Path, work: Path) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on the training split, or the one already in ``work``."""
    folder = work / "tokenizer"
    if not folder.exists():
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[END, PAD],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(documents(corpus / "train.jsonl"), trainer)
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            bos_token=END,
            eos_token=END,
            pad_token=PAD,
            padding_side="left",
            model_max_length=CONTEXT,
            clean_up_tokenization_spaces=False,
        ).save_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> Tensor:
    """All documents as one stream of tokens, each preceded by the end-of-text token."""
    stream: list[int] = []
    for encoding in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]:
        stream += [tokenizer.bos_token_id, *encoding]
    return torch.tensor([*stream, tokenizer.eos_token_id])


def build_model(name: str, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained model of the named shape."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **SHAPES[name],
    )
    return LlamaForCausalLM(config)


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by Newton-Schulz iterations (Jordan et al., 2024), in float32.

    ``torch.optim.Muon`` iterates in bfloat16, which processors without bfloat16 arithmetic only emulate.
    """

    def __init__(self, parameters: list[Tensor], lr: float = 0.02, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every matrix along its orthogonalised Nesterov momentum."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(momentum, group["momentum"])
                wide = update if update.shape[0] <= update.shape[1] else update.T
                wide = wide / (wide.norm() + 1e-7)
                for _ in range(5):
                    gram = wide @ wide.T
                    wide = 3.4445 * wide + (-4.7750 * gram + 2.0315 * gram @ gram) @ wide
                update = wide if update.shape[0] <= update.shape[1] else wide.T
                scale = max(1.0, parameter.shape[0] / parameter.shape[1]) ** 0.5
                parameter.add_(update, alpha=-group["lr"] * scale)


def rate(progress: float) -> float:
    """Learning rate at a share of the schedule, relative to its peak: a short rise, a plateau, a linear fall to zero."""
    return min(progress / 0.02, 1.0) if progress < 0.35 else max(0.0, (1.0 - progress) / 0.65)


@torch.no_grad()
def heldout_loss(model: LlamaForCausalLM, stream: Tensor, windows: int) -> float:
    """Mean loss per token on evenly spread windows of the held-out stream."""
    model.eval()
    starts = torch.linspace(0, len(stream) - WINDOW - 1, windows).long().tolist()
    rows = torch.stack([stream[start : start + WINDOW] for start in starts])
    losses = [model(input_ids=batch, labels=batch).loss.item() * len(batch) for batch in rows.split(8)]
    model.train()
    return sum(losses) / windows


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
    """Train one model until its minutes are spent, and write it."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(arguments.corpus, arguments.work)
    stream = encode(tokenizer, documents(arguments.corpus / "train.jsonl"))
    heldout = encode(tokenizer, documents(arguments.corpus / "heldout.jsonl"))
    model = build_model(arguments.model, tokenizer)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{parameters} parameters, {len(stream)} training tokens, {len(heldout)} held out", flush=True)

    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim < 2 or "embed" in n]
    optimizers = [Muon(matrices, lr=0.02), torch.optim.AdamW(others, lr=4e-3, betas=(0.9, 0.95), weight_decay=0.0)]
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    checkpoint = arguments.work / f"{arguments.model}.pt"
    spent, seen, step, saved, logged = 0.0, 0, 0, 0.0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        for optimizer, content in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(content)
        spent, seen, step = state["spent"], state["seen"], state["step"]
        saved = logged = spent
        torch.manual_seed(step)

    def keep() -> None:
        content = {"model": model.state_dict(), "optimizers": [optimizer.state_dict() for optimizer in optimizers]}
        torch.save({**content, "spent": spent, "seen": seen, "step": step}, checkpoint.with_suffix(".tmp"))
        checkpoint.with_suffix(".tmp").replace(checkpoint)

    total = 60 * arguments.minutes
    pending: list[int] = []
    long = False
    clock = time.monotonic()
    while spent < total:
        progress = spent / total
        if (progress >= 0.9) != long:  # the last tenth sees the whole context, at the same tokens per step
            long, pending = not long, []
        length = CONTEXT if long else WINDOW
        if len(pending) * length < arguments.tokens_per_step:
            offset = int(torch.randint(length, ()))
            starts = torch.arange(offset, len(stream) - length, length)
            pending = starts[torch.randperm(len(starts))].tolist()
        rows = [pending.pop() for _ in range(max(1, arguments.tokens_per_step // length))]
        batch = torch.stack([stream[start : start + length] for start in rows])
        loss = model(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * rate(progress)
            optimizer.step()
            optimizer.zero_grad()
        step, seen = step + 1, seen + batch.numel()
        now = time.monotonic()
        spent, clock = spent + now - clock, now
        if spent - logged >= 30:
            logged = spent
            held = heldout_loss(model, heldout, 16)
            print(
                f"{spent / 60:6.1f} min  step {step}  {seen} tokens  train {loss.item():.3f}  held out {held:.3f}",
                flush=True,
            )
        if spent - saved >= 60:
            saved = spent
            keep()
    keep()
    save(model, tokenizer, arguments.output_dir)
    held = heldout_loss(model, heldout, 128)
    print(f"done: {spent / 60:.1f} min, {step} steps, {seen} tokens, held out {held:.4f} ({math.exp(held):.2f})", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=sorted(SHAPES))
    parser.add_argument("--corpus", type=Path, required=True, help="folder written by corpus.py")
    parser.add_argument("--work", type=Path, required=True, help="folder for the tokenizer and checkpoints")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder of the finished model")
    parser.add_argument("--minutes", type=float, required=True, help="time to train for, resumed runs included")
    parser.add_argument("--tokens-per-step", type=int, default=2048)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
