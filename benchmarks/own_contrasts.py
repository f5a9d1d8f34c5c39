"""What contrasts of a model with itself cost: adaptive contexts over context_aware, a noised picture and masked heads over greedy.

Usage: ``python own_contrasts.py --model PATH --output-dir DIR``; the embedded expert by default. All methods of a case write their
texts in turn, token by token, in one process: the median milliseconds of a step, in which the prompt has no part, and the median
over steps of the ratio to the same step of the method that it is held against, with its 95 % interval. The image-text model has
random weights: LLaVA with a language model of ``--model``'s shape and a small CLIP, so that nothing is downloaded; its picture is
random pixels. Writes ``own_contrasts.json`` and ``own_contrasts.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from timing import Case, Results, environment_of, load, parsed, text
from torch import Tensor
from transformers import AutoConfig, CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration, LogitsProcessor
from transformers.generation.streamers import BaseStreamer
from turns import Calls, add_ratios_to_machines, measured, ratio, table

from counterpoint.decoders import (
    AdaCADLogitsProcessor,
    COIECDLogitsProcessor,
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    DeCoReLogitsProcessor,
    InputsAmateur,
    diffusion_noise,
    extrapolation,
)
from counterpoint.eval import EXPERT

BASES = {
    "adacad": "context_aware",
    "coiecd": "context_aware",
    "decore": "greedy",
    "visual_contrastive": "greedy, with a picture",
}
"""What each method is held against."""
IMAGE, PATCH = 224, 56
Inputs = Mapping[str, Tensor]
Methods = dict[str, tuple[Any, Inputs, list[LogitsProcessor]]]


def contexts(model: Any, ids: Tensor) -> Methods:
    """Contrasts of a prompt with its second half, and of the model without some of its heads."""
    inputs, without = {"input_ids": ids}, {"input_ids": ids[:, ids.shape[1] // 2 :]}
    shape = model.config
    heads = [(layer, head) for head in range(shape.num_attention_heads) for layer in range(shape.num_hidden_layers)]
    return {
        "greedy": (model, inputs, []),
        "context_aware": (model, inputs, [ContextAwareLogitsProcessor(model, without)]),
        "adacad": (model, inputs, [AdaCADLogitsProcessor(model, without)]),
        "coiecd": (model, inputs, [COIECDLogitsProcessor(model, without)]),
        "decore": (model, inputs, [DeCoReLogitsProcessor(model, heads[:50])]),
    }


def pictures(name: str, ids: Tensor, dtype: torch.dtype) -> Methods:
    """The contrast of a picture with its noised view."""
    torch.manual_seed(0)
    sizes = dict(hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4)
    vision = CLIPVisionConfig(image_size=IMAGE, patch_size=PATCH, **sizes)
    config = LlavaConfig(vision_config=vision, text_config=AutoConfig.from_pretrained(name), image_token_id=1)
    model = LlavaForConditionalGeneration._from_config(config, dtype=dtype).to(ids.device).eval()
    seen = ids.new_full((len(ids), (IMAGE // PATCH) ** 2), 1)
    pixels = torch.randn(len(ids), 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(0)).to(ids.device, dtype)
    inputs = {"input_ids": torch.cat([ids[:, :1], seen, ids[:, 1:]], 1), "pixel_values": pixels}
    noised = {**inputs, "pixel_values": diffusion_noise(pixels, generator=torch.Generator().manual_seed(0))}
    amateur = InputsAmateur(model, {**noised, "attention_mask": torch.ones_like(inputs["input_ids"])})
    contrast = ContrastiveDecodingLogitsProcessor(amateur, form=partial(extrapolation, beta=1.0))
    return {"greedy, with a picture": (model, inputs, []), "visual_contrastive": (model, inputs, [contrast])}


def run(model: Any, inputs: Inputs, used: list[LogitsProcessor], new_tokens: int, streamer: BaseStreamer) -> None:
    """Write one text."""
    model.generate(
        **inputs,
        attention_mask=torch.ones_like(inputs["input_ids"]),
        logits_processor=used,
        streamer=streamer,
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )


def calls(methods: Methods, new_tokens: int) -> Calls:
    """Each writing a text."""
    return {name: partial(run, *arguments, new_tokens) for name, arguments in methods.items()}


def measure(options: argparse.Namespace, report: Callable[[Case], None]) -> None:
    """All batch sizes, texts first and pictures after them."""
    model = load(options.model, options.dtype, options.device)
    for batch in options.batch:
        ids = text(model, batch, options.context)
        times: dict[str, list[float]] = {}
        for methods in (contexts(model, ids), pictures(options.model, ids, model.dtype)):
            times |= measured(calls(methods, options.new_tokens), options.rounds, options.new_tokens)
        ratios = {name: ratio(times[name], times[base]) for name, base in BASES.items()}
        report({"dtype": options.dtype, "batch": batch, "context": options.context, "ms_per_token": times, "ratios": ratios})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(EXPERT), help="path or id; default: the embedded expert")
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--new-tokens", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    options = parsed(parser)
    environment = environment_of(options.model, options.device, options.new_tokens)
    results = Results(options.output_dir / "own_contrasts.json", environment, ("dtype", "batch", "context"), partial(table, BASES))

    def report(case: Case) -> None:
        results.add(case)
        if options.machines:
            add_ratios_to_machines(environment, case, BASES)

    measure(options, report)
    print(results.markdown())


if __name__ == "__main__":
    main()
