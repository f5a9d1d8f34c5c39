"""The embedded ranker: it loads, keeps its card's promises, and tells what follows a prefix from what follows others."""

from __future__ import annotations

import re

import torch
from safetensors.torch import load_file

from counterpoint.rankers import SMALL, RankGenRanker
from counterpoint.rankers.training.continuation_choice import ContinuationChoice, picked

TEXT = [
    (
        "The whale had been sighted at dawn, and the boats were lowered.",
        " The harpooneer stood ready in the bow, and the men pulled.",
    ),
    ("The ball was to be given on Thursday, and Mrs. Hale spoke of nothing else.", " Her daughters would dance with the officers."),
    (
        "The revenue of the Government has exceeded its expenses this year.",
        " The surplus in the Treasury may reduce the public debt.",
    ),
    ("Your letter came this morning, my dear sister.", " I read it twice to my mother, who is much better, and sends her love."),
    ("Our troops abroad have done their duty in this war.", " We shall give our soldiers and our allies what they need for peace."),
    ("Mr. Reed made her an offer of marriage in the shrubbery.", " She refused him; she could not esteem such a husband."),
    (
        "A storm came up from the south, and the ship rolled in the waves.",
        " The captain ordered the sails to be furled upon the masts.",
    ),
    ("Every American child deserves a good school.", " I ask the Congress to help the states pay teachers and educate students."),
    ("The estate was entailed upon a cousin, and the income was small.", " He had four thousand pounds to leave to his daughters."),
    ("The treaty with Spain was signed and sent to the Senate.", " Our relations with foreign nations remain friendly."),
    ("They walked to the village after breakfast, as the day was fine.", " On the road they met the clergyman and his young wife."),
    (
        "I take this oath before my fellow citizens and Almighty God.",
        " The Constitution shall guide me in the office of President.",
    ),
]


def test_it_tells_continuations_from_those_of_other_prefixes() -> None:
    continuations = [continuation for _, continuation in TEXT]
    choices = [
        ContinuationChoice(prefix, continuation, tuple(other for other in continuations if other != continuation), ())
        for prefix, continuation in TEXT
    ]
    right = sum(picked(RankGenRanker.from_pretrained(SMALL), choices, "in_book"))
    assert right >= 5  # chance is 1 of 12


def test_it_is_stored_in_half_precision_and_computes_in_single() -> None:
    assert {weights.dtype for weights in load_file(SMALL / "model.safetensors").values()} == {torch.float16}
    assert {weights.dtype for weights in RankGenRanker.from_pretrained(SMALL).encoder.parameters()} == {torch.float32}


def test_its_card_says_how_large_it_is() -> None:
    card = (SMALL / "README.md").read_text(encoding="utf-8")
    parameters = sum(weights.numel() for weights in RankGenRanker.from_pretrained(SMALL).encoder.parameters())
    assert f"{parameters:,} parameters" in card
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    exec(code, {})  # noqa: S102 - ours
