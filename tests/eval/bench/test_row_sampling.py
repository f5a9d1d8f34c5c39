"""Sampling with each row's own random numbers: the right distribution, and no word of the batch in it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.eval.bench import row_sampling as module
from counterpoint.eval.bench.row_sampling import GumbelNoise, row_sampling

DRAWS = 20_000
WARPERS: dict[str, dict[str, Any]] = {
    "plain": {"top_k": 0},
    "temperature": {"top_k": 0, "temperature": 0.5},
    "nucleus": {"top_p": 0.9, "top_k": 0},
    "top_k": {"top_k": 20},
    "typical": {"typical_p": 0.9, "top_k": 0},
    "min_p": {"min_p": 0.1, "top_k": 0},
}


def chi_square(counts: torch.Tensor, probabilities: torch.Tensor) -> float:
    """Pearson's statistic, standardised: about normal for a right sampler, with mean 0 and deviation 1."""
    possible = probabilities > 0
    assert not counts[~possible].any()
    expected = counts.sum() * probabilities[possible]
    freedom = int(possible.sum()) - 1
    statistic = ((counts[possible] - expected) ** 2 / expected).sum()
    return float((statistic - freedom) / (2 * freedom) ** 0.5)


def counts_of(noise: GumbelNoise, logits: torch.Tensor) -> torch.Tensor:
    """How often each token is drawn, all rows in one batch."""
    scores = noise(torch.zeros(DRAWS, 1, dtype=torch.long), logits.expand(DRAWS, -1))
    return scores.argmax(dim=-1).bincount(minlength=logits.shape[-1])


LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -torch.inf, -3.0])


def test_draws_follow_the_distribution() -> None:
    counts = counts_of(GumbelNoise(range(DRAWS), torch.device("cpu")), LOGITS)  # one draw for each of many seeds
    assert abs(chi_square(counts, LOGITS.softmax(dim=-1))) < 4
    noise = GumbelNoise([7], torch.device("cpu"))  # many draws for one seed
    drawn = torch.stack([noise(torch.zeros(1, 1, dtype=torch.long), LOGITS[None]).argmax() for _ in range(DRAWS // 4)])
    assert abs(chi_square(drawn.bincount(minlength=len(LOGITS)), LOGITS.softmax(dim=-1))) < 4


def test_the_test_of_the_distribution_sees_a_wrong_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "exponential_", torch.Tensor.uniform_)  # noise, but not Gumbel's
    counts = counts_of(GumbelNoise(range(DRAWS), torch.device("cpu")), LOGITS)
    assert abs(chi_square(counts, LOGITS.softmax(dim=-1))) > 20


@pytest.mark.parametrize("name", WARPERS)
def test_first_tokens_follow_the_warped_distribution(
    amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str
) -> None:
    """Of ``generate`` as a whole, against the probabilities that its own scores give, without our sampling."""
    rows = 4000
    inputs = tokenizer("The old man went to the", return_tensors="pt")
    model: Any = amateur
    options = dict(max_new_tokens=1, do_sample=True, return_dict_in_generate=True, output_scores=True, **WARPERS[name])
    torch.manual_seed(0)
    probabilities = model.generate(**inputs, **options).scores[0][0].softmax(dim=-1)
    many = {key: value.expand(rows, -1) for key, value in inputs.items()}
    del options["return_dict_in_generate"], options["output_scores"]
    ids = model.generate(**many, **options, custom_generate=row_sampling, row_seeds=range(rows))
    counts = ids[:, -1].bincount(minlength=len(probabilities))
    assert not counts[probabilities == 0].any()
    common = probabilities * rows >= 5  # the rest is one outcome, as the test wants
    merged = [torch.cat([each[common].double(), each[~common].double().sum()[None]]) for each in (counts, probabilities)]
    assert abs(chi_square(*merged)) < 4


def texts(model: Any, tokenizer: Any, prompts: list[str], seeds: list[int]) -> list[str]:
    """Sampled continuations, all in one batch."""
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    options = dict(do_sample=True, top_k=0, max_new_tokens=24, custom_generate=row_sampling)
    ids = model.generate(**inputs, **options, row_seeds=seeds)
    return [tokenizer.decode(row, skip_special_tokens=True) for row in ids[:, inputs["input_ids"].shape[1] :]]


PROMPTS = ["It was", "The whale rose slowly from the sea and", "My fellow citizens,"]


def test_a_row_does_not_depend_on_its_batch(expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    together = texts(expert, tokenizer, PROMPTS, [3, 1, 2])
    alone = [text for prompt, seed in zip(PROMPTS, [3, 1, 2], strict=True) for text in texts(expert, tokenizer, [prompt], [seed])]
    assert together == alone
    assert texts(expert, tokenizer, PROMPTS[::-1], [2, 1, 3]) == together[::-1]
    assert texts(expert, tokenizer, PROMPTS, [3, 1, 4])[2] != together[2]


def test_one_stream_for_all_rows_is_seen(
    expert: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OneStream(GumbelNoise):
        def __init__(self, row_seeds: list[int], device: torch.device) -> None:
            super().__init__(row_seeds, device)
            self.generators = self.generators[:1] * len(row_seeds)

    monkeypatch.setattr(module, "GumbelNoise", OneStream)
    with pytest.raises(AssertionError):
        test_a_row_does_not_depend_on_its_batch(expert, tokenizer)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"row_seeds": [1, 2]}, "row_seeds: 2 for 1 rows"), ({"row_seeds": [1, 2], "num_beams": 2}, "num_beams=2: sampled beams")],
)
def test_what_cannot_work_is_refused(
    amateur: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, options: dict[str, Any], message: str
) -> None:
    model: Any = amateur
    with pytest.raises(ValueError, match=message):
        model.generate(
            **tokenizer("It", return_tensors="pt"), do_sample=True, max_new_tokens=2, custom_generate=row_sampling, **options
        )
