"""Features for MAUVE: texts a second, against mauve-text's own reading of the same texts by the same model at its defaults.

Usage: ``python mauve_features.py --texts wiki.test.raw --model PATH --samples 64``; a model by its path, whose name need not hold
"gpt2" (mauve-text is shown a link that does), or ``gpt2-small``, that shape with random weights. Texts are paragraphs of the file,
of at least 20 words, evenly spread over it: their lengths are as they come, but for a cut of ``--max-length`` tokens.

Ways: mauve-text one text at a time (its default) and 16 at a time, ours in float32 and in bfloat16. ``decoders`` is the same for
references and three sets of continuations: mauve-text is given references and one set three times, as its function takes them.
``products`` is the share of our float32 seconds that the products of the model's linear layers take by themselves, over as many
tokens at once as are read together: what no order of reading can save.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from timing import Case, Results, described, environment_of
from transformers import AutoTokenizer, GPT2Config, GPT2Model
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging

from counterpoint.eval import EXPERT
from counterpoint.eval.metrics.mauve_features import BATCH_TOKENS, load_featurizer

DECODERS = 3
WAYS = ("mauve-text", "mauve-text, 16 at a time", "float32", "bfloat16")


def paragraphs(path: Path, count: int) -> list[str]:
    """So many of a file, evenly spread over it."""
    found = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if len(line.split()) >= 20]
    return found[:: max(1, len(found) // count)][:count]


def folder_named_gpt2(model: str, scratch: Path) -> Path:
    """The model where mauve-text accepts its name."""
    folder = scratch / "gpt2-by-name"
    if model == "gpt2-small":
        torch.manual_seed(0)
        tokenizer = AutoTokenizer.from_pretrained(EXPERT)
        GPT2Model(GPT2Config(vocab_size=50257)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    else:
        folder.symlink_to(Path(model).resolve(), target_is_directory=True)
    return folder


def theirs(folder: Path, max_length: int) -> Callable[..., Any]:
    """mauve-text's features of some texts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mauve.compute_mauve  # noqa: F401 - the function of this name hides the module
    import sys

    module: Any = sys.modules["mauve.compute_mauve"]

    def read(texts: list[str], size: int) -> Any:
        return module.get_features_from_input(None, None, texts, str(folder), max_length, -1, name="p", batch_size=size)

    return read


@torch.no_grad()
def products(model: Any, tokens: int, clock: Callable[[], float]) -> float:
    """The least seconds that the linear layers' products of so many tokens take, as many at once as are read together."""
    together, seconds = min(tokens, BATCH_TOKENS["cpu"]), 0.0
    shapes = Counter(tuple(module.weight.shape) for module in model.modules() if isinstance(module, torch.nn.Linear | Conv1D))
    for shape, layers in shapes.items():
        weight, states = torch.randn(shape), torch.randn(together, shape[1])
        seconds += layers * min(timed(partial(torch.matmul, states, weight.T), clock) for _ in range(5))
    return seconds * tokens / together


def timed(call: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds of it."""
    start = clock()
    call()
    return clock() - start


def table(cases: list[Case], environment: dict[str, Any]) -> str:
    """Cases in rows."""
    lines = [
        "| model | texts | tokens (median) | what | texts/s "
        + " | ".join(WAYS)
        + " | float32 / mauve-text | bfloat16 / mauve-text | products |"
    ]
    lines.append("|---" * (4 + len(WAYS) + 3) + "|")
    for case in cases:
        base = case["seconds"][WAYS[0]]
        rates = [f"{case['read'] / statistics.median(case['seconds'][way]):.2f}" for way in WAYS]
        gains = [f"{statistics.median(b / o for b, o in zip(base, case['seconds'][way], strict=True)):.2f}" for way in WAYS[2:]]
        share = f"{case['products'] / statistics.median(case['seconds']['float32']):.0%}" if "products" in case else ""
        cells = [case["model"], case["texts"], case["tokens"], case["what"], *rates, *gains, share]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n\n" + described(environment) + "\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--model", default="gpt2-small")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--what", nargs="+", choices=("features", "decoders"), default=["features", "decoders"])
    parser.add_argument("--one-core", action="store_true", help="one thread, its own seconds: where other work runs beside")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mauve_features.json")
    arguments = parser.parse_args()
    os.environ["DISABLE_TQDM"] = "1"
    warnings.filterwarnings("ignore", category=FutureWarning)  # mauve-text passes a deprecated argument
    logging.set_verbosity_error()
    if arguments.one_core:
        torch.set_num_threads(1)
    clock = time.process_time if arguments.one_core else time.perf_counter
    texts = paragraphs(arguments.texts, arguments.samples)
    environment = {**environment_of("", "cpu", 0), "mauve-text": version("mauve-text")}
    del environment["model"], environment["new tokens"]
    environment["seconds of"] = "the processor" if arguments.one_core else "the clock"
    results = Results(arguments.out, environment, ("model", "what", "texts", "tokens"), table)
    with tempfile.TemporaryDirectory() as scratch:
        folder = folder_named_gpt2(arguments.model, Path(scratch))
        their = theirs(folder, arguments.max_length)
        our = {dtype: load_featurizer(folder, device="cpu", dtype=dtype) for dtype in WAYS[2:]}
        lengths = [
            len(ids) for ids in our["float32"].tokenizer(texts, truncation=True, max_length=arguments.max_length)["input_ids"]
        ]

        def ours(dtype: str, texts: list[str]) -> None:
            our[dtype].known.clear()
            our[dtype].features(texts, arguments.max_length)

        for size in (1, 16):
            their(texts[:2], size)
        for dtype in our:
            ours(dtype, texts[:2])
        part = len(texts) // (DECODERS + 1)
        references, sets = texts[:part], [texts[part * n : part * (n + 1)] for n in range(1, DECODERS + 1)]
        plans: dict[str, tuple[int, dict[str, Callable[[], object]]]] = {
            "features": (
                len(texts),
                {
                    WAYS[0]: lambda: their(texts, 1),
                    WAYS[1]: lambda: their(texts, 16),
                    **{dtype: lambda dtype=dtype: ours(dtype, texts) for dtype in our},  # type: ignore[misc]
                },
            ),
            "decoders": (
                2 * DECODERS * part,
                {
                    WAYS[0]: lambda: [their(each, 1) for one in sets for each in (references, one)],
                    WAYS[1]: lambda: [their(each, 16) for one in sets for each in (references, one)],
                    **{dtype: lambda dtype=dtype: ours(dtype, texts[: part * (DECODERS + 1)]) for dtype in our},  # type: ignore[misc]
                },
            ),
        }
        for what in arguments.what:
            read, ways = plans[what]
            total = len(texts) if what == "features" else part * (DECODERS + 1)
            seconds: dict[str, list[float]] = {way: [] for way in WAYS}
            for _ in range(arguments.rounds):
                for way, call in ways.items():
                    seconds[way].append(timed(call, clock))
            case = dict(model=Path(arguments.model).name, what=what, texts=len(texts), tokens=int(statistics.median(lengths)))
            least = products(our["float32"].model, sum(lengths[:total]), clock)
            results.add({**case, "read": read, "seconds": seconds, "products": least})
    print(results.markdown())


if __name__ == "__main__":
    main()
