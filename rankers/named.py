"""Every ranker by name, and the decoders that a ranker makes; read without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from counterpoint.decoders.choosing.rows import DecoderRow, Parameter, RankerRow
from counterpoint.decoders.choosing.specs import Table
from counterpoint.decoders.choosing.words import one_of
from counterpoint.decoders.named import TABLE as DECODER_TABLE
from counterpoint.rankers.own import own_ranker

BUILDERS = "counterpoint.rankers.builders"
PATH = {"path": Parameter("", required=True)}
BATCH = {"batch_size": Parameter(32, 1)}

RANKERS: Mapping[str, RankerRow] = {
    row.name: row
    for row in (
        RankerRow("small", "the embedded ranker, a small RankGen", f"{BUILDERS}:small"),
        RankerRow(
            "rankgen",
            "RankGen, a folder or a name on the Hugging Face hub",
            f"{BUILDERS}:rankgen",
            {**PATH, "truncation": Parameter("nearest", check=one_of("nearest", "released")), **BATCH},
        ),
        RankerRow(
            "sentence",
            "a bi-encoder of sentence-transformers",
            f"{BUILDERS}:sentence",
            {**PATH, "prefix_prompt": Parameter(""), "suffix_prompt": Parameter(""), **BATCH},
        ),
        RankerRow(
            "cross_encoder",
            "a cross-encoder of sentence-transformers",
            f"{BUILDERS}:cross_encoder",
            {**PATH, "prompt": Parameter(""), **BATCH},
        ),
        RankerRow(
            "likelihood",
            "a causal model's likelihood under any decoder, by default --model's: log_likelihood, per_token or pmi",
            f"{BUILDERS}:likelihood",
            {
                "path": Parameter(""),
                "form": Parameter("per_token", check=one_of("log_likelihood", "per_token", "pmi")),
                "decoder": Parameter("greedy", choice="scorer"),
            },
            needs=("model",),
        ),
        RankerRow(
            "overlap",
            "the share of n-grams that the prefix has too, without stopwords",
            f"{BUILDERS}:overlap",
            {"n": Parameter(1, 1)},
        ),
        RankerRow(
            "consensus",
            "mean likeness to the other candidates (minimum Bayes risk): utility ngram, chrf, bleu, bertscore or cosine",
            f"{BUILDERS}:consensus",
            {
                "utility": Parameter("ngram", check=one_of("ngram", "chrf", "bleu", "bertscore", "cosine")),
                "n": Parameter(1, 1),
                "aggregate": Parameter(False),
                "prune": Parameter(0.0, 0, 1),
                "path": Parameter(""),
                "layer": Parameter(0),
            },
        ),
        RankerRow(
            "self_certainty",
            "how far a causal model's distributions are from uniform, on average over a text",
            f"{BUILDERS}:self_certainty",
            {"path": Parameter("")},
            needs=("model",),
        ),
        RankerRow(
            "confidence",
            "a causal model's confidence in windows of a text (DeepConf): lowest, bottom, tail or mean",
            f"{BUILDERS}:confidence",
            {
                "path": Parameter(""),
                "measure": Parameter("lowest", check=one_of("lowest", "bottom", "tail", "mean")),
                "window": Parameter(2048, 1),
                "top": Parameter(20, 1),
            },
            needs=("model",),
        ),
        RankerRow(
            "reward",
            "a reward model, sequence classification with one label",
            f"{BUILDERS}:reward",
            {
                **PATH,
                "template": Parameter(True),
                "max_length": Parameter(0),
                "batch_size": Parameter(8, 1),
            },
        ),
        RankerRow(
            "process_reward",
            "a process reward model, which judges each step: formats shepherd, chat, qwen, token_classification",
            f"{BUILDERS}:process_reward",
            {
                **PATH,
                "format": Parameter("shepherd", check=one_of("shepherd", "chat", "qwen", "token_classification")),
                "step": Parameter("\\n\\n"),
                "aggregate": Parameter("last", check=one_of("last", "min", "prod", "mean")),
                "batch_size": Parameter(8, 1),
            },
        ),
        RankerRow(
            "judge",
            "a causal model that is asked whether a text is right, or pairwise which is better",
            f"{BUILDERS}:judge",
            {
                "path": Parameter(""),
                "pairwise": Parameter(False),
                "prompt": Parameter(""),
                "calibrate": Parameter(False),
            },
            needs=("model",),
        ),
        RankerRow(
            "vote",
            "the answer that most texts give (self-consistency), votes weighed by any ranker",
            f"{BUILDERS}:vote",
            {
                "answer": Parameter("auto"),
                "ranker": Parameter("", choice="ranker"),
                "power": Parameter(None),
                "keep": Parameter(1.0, 0, 1),
            },
            whole_texts=True,
        ),
    )
}

WEIGHT = {"weight": Parameter(1.0, -math.inf)}
"""What every ranker takes, for combinations."""

NESTED: dict[str, Table[Any]] = {"scorer": DECODER_TABLE}
RANKER_TABLE: Table[RankerRow] = Table(RANKERS, WEIGHT, own_ranker, NESTED)
NESTED["ranker"] = RANKER_TABLE  # a vote is weighed by other rankers

RANKER = {"ranker": Parameter("small", choice="ranker")}
PROPOSALS = {"proposals": Parameter("nucleus:top_p=0.9", choice="decoder")}
"""The decoder that proposes; by default what RankGen's authors sampled from."""

RANKED: Mapping[str, DecoderRow] = {
    row.name: row
    for row in (
        DecoderRow(
            "best_of",
            "the best of several texts, by a ranker",
            "counterpoint.rankers:best_of",
            {**RANKER, "candidates": Parameter(20, 1), **PROPOSALS},
            "callable",
            sampling=True,
            batched=False,
            needs=("ranker",),
            rows="candidates",
        ),
        DecoderRow(
            "ranked_search",
            "beams that a ranker chooses",
            "counterpoint.rankers:ranked_search",
            {
                **RANKER,
                "beams": Parameter(2, 1),
                "candidates": Parameter(10, 1),
                "tokens_per_round": Parameter(20, 1),
                "round_ends": Parameter(""),
                **PROPOSALS,
            },
            "callable",
            sampling=True,
            batched=False,
            needs=("ranker",),
            rows="candidates",
        ),
    )
}
"""Decoders that a ranker makes; beside the others in :mod:`counterpoint.eval.choosing`."""
