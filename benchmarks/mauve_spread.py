"""How MAUVE depends on the number of texts, on the seed of k-means, and on which texts: the protocol of ``counterpoint bench``.

Usage: ``python mauve_spread.py --pairs FILE.json``: a list of ``reference_text`` and ``generated_result`` objects, as released with
*An Empirical Study On Contrastive Search And Contrastive Decoding* (arXiv 2211.10797). Prints the mean, the standard deviation
between seeds (of one sample, pooled) and between samples (of their means over seeds), samples drawn without replacement; and the
same of references against other references, which a perfect decoder would have, and of features in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from counterpoint.eval.metrics.mauve import mauve
from counterpoint.eval.metrics.mauve_features import load_featurizer
from counterpoint.eval.metrics.mauve_protocols import COUNTERPOINT, apply

SIZES = (100, 250, 500, 1000)


def spread(p: Any, q: Any, n: int, samples: int, seeds: int) -> tuple[float, float, float]:
    """The mean, the deviation between seeds and the deviation between samples, of n rows of each."""
    rng = np.random.default_rng(n)
    found = []
    for _ in range(samples):
        rows = rng.choice(len(p), n, replace=False)
        found.append(mauve(p[rows], q[rows], seeds=seeds))
    means = [one.mauve for one in found]
    return statistics.fmean(means), math.sqrt(statistics.fmean(one.sd**2 for one in found if one.sd)), statistics.stdev(means)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--num-seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "mauve_spread.md")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # that texts are few is what is measured
    records = json.loads(arguments.pairs.read_text(encoding="utf-8"))
    human = [record["reference_text"] for record in records]
    generated = [record["generated_result"]["0"] for record in records]
    featurizer = load_featurizer(COUNTERPOINT.featurizer)
    rounded = load_featurizer(COUNTERPOINT.featurizer, dtype="bfloat16")
    table = ["| texts on a side | against | MAUVE | sd between seeds | sd between samples |", "|---|---|---|---|---|"]
    half = len(human) // 2
    for name, one, other, reader in (
        ("generated", human, generated, featurizer),
        ("generated, features in bfloat16", human, generated, rounded),
        ("other human texts", human[:half], human[half : 2 * half], featurizer),
    ):
        texts = apply(COUNTERPOINT, [""] * len(one), other, one, reader.tokenizer)
        p, q = (reader.features(side, COUNTERPOINT.max_length) for side in texts)
        for n in SIZES:
            if n <= len(p):
                mean, seeds, samples = spread(p, q, n, arguments.samples, arguments.num_seeds)
                table.append(f"| {n} | {name} | {mean:.3f} | {seeds:.3f} | {samples:.3f} |")
                print(table[-1], flush=True)
    content = "\n".join([*table, "", f"{arguments.samples} samples, {arguments.num_seeds} seeds; {COUNTERPOINT.summary}"]) + "\n"
    arguments.out.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
