"""A language model that is asked: is this answer right, or which of two is better?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from counterpoint.decoders.forwards.chats import Chat
from counterpoint.decoders.forwards.encoding import Encoded, encode_prompt
from counterpoint.decoders.forwards.given_texts import GivenTexts
from counterpoint.decoders.hf.wrappers import Model, plain_model
from counterpoint.decoders.scoring import Scorer
from counterpoint.rankers.base import CandidateScorer, Ranker, Scores, Texts
from counterpoint.rankers.causal import read_once

POINTWISE = "Question:\n{prefix}\n\nAnswer:\n{text}\n\nIs the answer correct? Say Yes or No."
PAIRWISE = "Question:\n{prefix}\n\nAnswer A:\n{first}\n\nAnswer B:\n{second}\n\nWhich answer is better? Say A or B."
NOTHING = "N/A"
"""The answer that says nothing, for calibration."""


class JudgeRanker(Ranker):
    """Scores a continuation by what a language model says of it when it is asked, without writing anything.

    One at a time, the score is the log-odds of the answers at the first token after the question, each summed over its spellings
    (with a space, in lower and upper case):

        s(prefix, x) = ln P(Yes | prefix, x) - ln P(No | prefix, x)

    Kadavath et al., *Language Models (Mostly) Know What They Know* (2022, arXiv 2207.05221), their P(True); Zhang et al.,
    *Generative Verifiers* (2024, arXiv 2408.15240). sigmoid(s) is P(Yes) if there are no other answers. With ``pairwise`` it is the
    mean probability to be better than another candidate, either of them shown first:

        s(x_i) = 1/(N - 1) * sum_{j != i} (P(A | i first) + P(B | j first)) / 2

    so that a model that always prefers the first place finds all alike. That takes N (N - 1) questions; a single candidate scores
    1/2, and so do equal ones against each other.

    Args:
        model: The model; its chat template writes the question, if it has one.
        tokenizer: Its tokenizer.
        pairwise: Whether candidates are compared in pairs.
        prompt: The question, with ``{prefix}`` and ``{text}``, or with ``{prefix}``, ``{first}`` and ``{second}``; "" is ours.
        answers: The two answers; Yes and No, or A and B.
        calibrate: Whether the log-odds of the answer "N/A" to the same prefix are taken off: 0 is then as good as no answer.
            Zhao et al., *Calibrate Before Use* (2021, arXiv 2102.09690). The order of one prefix's candidates stays.

    Raises:
        ValueError: For a ``prompt`` that lacks a place, answers that begin with the same token, and ``calibrate`` with
            ``pairwise``, where the two orders do it.

    Example:
        >>> from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
        >>> from counterpoint.rankers import SMALL, JudgeRanker
        >>> tokenizer = AutoTokenizer.from_pretrained(SMALL)
        >>> sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes))  # in its place any causal language model
        >>> scores, = JudgeRanker(model, tokenizer).score(["1 + 1?"], [[" 2", " 3"]])
        >>> wins, = JudgeRanker(model, tokenizer, pairwise=True).score(["1 + 1?"], [[" 2", " 3"]])
        >>> round(float(wins.sum()), 4)
        1.0
    """

    def __init__(
        self,
        model: Model,
        tokenizer: PreTrainedTokenizerBase,
        *,
        pairwise: bool = False,
        prompt: str = "",
        answers: tuple[str, str] | None = None,
        calibrate: bool = False,
    ) -> None:
        self.prompt = prompt or (PAIRWISE if pairwise else POINTWISE)
        places = ("{prefix}", "{first}", "{second}") if pairwise else ("{prefix}", "{text}")
        if missing := [place for place in places if place not in self.prompt]:
            raise ValueError(f"prompt={prompt!r} has no {missing[0]}: it is asked with {', '.join(places)}")
        if calibrate and pairwise:
            raise ValueError("calibrate=True with pairwise=True: both orders are asked, which takes the bias off; leave it out")
        self.answers = answers or (("A", "B") if pairwise else ("Yes", "No"))
        self.first, self.second = (first_tokens(tokenizer, answer) for answer in self.answers)
        if both := {*self.first} & {*self.second}:
            raise ValueError(
                f"answers={self.answers} begin with the same token, {tokenizer.decode([min(both)])!r}; take others, such as 1 and 2"
            )
        self.model, self.tokenizer, self.pairwise, self.calibrate = plain_model(model), tokenizer, pairwise, calibrate
        self.comparable = not pairwise

    def __repr__(self) -> str:
        name = type(self.model).__name__
        return f"JudgeRanker({name}, pairwise={self.pairwise}, answers={self.answers}, calibrate={self.calibrate})"

    @override
    def prepare(self, prefixes: Texts) -> CandidateScorer:
        scorers = [Scorer(self.model, None, renormalise=True, banned=-torch.inf) for _ in prefixes]
        score = self.wins if self.pairwise else self.odds

        def scores_of(candidates: Sequence[Texts]) -> Scores:
            return [
                score(Asked(self, scorer, number, len(prefixes), prefix), texts)
                for number, (scorer, prefix, texts) in enumerate(zip(scorers, prefixes, candidates, strict=True))
            ]

        return scores_of

    def odds(self, asked: Asked, texts: Texts) -> Float[Tensor, " candidates"]:
        """The log-odds of each text."""
        odds = torch.tensor(asked([{"text": text.strip()} for text in texts]))
        return odds - torch.tensor(asked([{"text": NOTHING}])) if self.calibrate and len(odds) else odds

    def wins(self, asked: Asked, texts: Texts) -> Float[Tensor, " candidates"]:
        """The mean probability of each text to be better than another."""
        pairs = [(i, j) for i in range(len(texts)) for j in range(len(texts)) if texts[i] != texts[j]]
        better = torch.full((len(texts), len(texts)), 0.5)
        found = asked([{"first": texts[i].strip(), "second": texts[j].strip()} for i, j in pairs])
        for (i, j), odds in zip(pairs, torch.tensor(found).sigmoid().tolist(), strict=True):
            better[i, j] = odds
        both = (better + 1 - better.T) / 2
        return torch.full((1,), 0.5) if len(texts) == 1 else (both.sum(dim=1) - 0.5) / (len(texts) - 1)

    def question(self, prefix: str, parts: Mapping[str, str]) -> tuple[int, ...]:
        """The tokens of a question, up to where the model answers."""
        given = {"prefix": prefix, **parts}
        text = re.sub(r"\{(prefix|text|first|second)\}", lambda place: given.get(place[1], place[0]), self.prompt)
        if self.tokenizer.chat_template:
            return tuple(Chat(({"role": "user", "content": text},)).ids(self.tokenizer))
        return tuple(encode_prompt(self.tokenizer, text))


class Asked:
    """Asks a model about one prefix's candidates; calling it gives the log-odds of the first answer to each question."""

    def __init__(self, judge: JudgeRanker, scorer: Scorer, number: int, prefixes: int, prefix: str) -> None:
        self.judge, self.scorer, self.number, self.prefixes, self.prefix = judge, scorer, number, prefixes, prefix

    def __call__(self, questions: Sequence[Mapping[str, str]]) -> list[float]:
        """The log-odds for each question, equal ones asked once."""
        ids: list[Encoded] = [(self.judge.question(self.prefix, parts), self.judge.first[:1]) for parts in questions]
        return read_once(self.scorer, self.read, self.number, ids, self.prefixes)

    def read(self, texts: GivenTexts) -> list[float]:
        """The log-odds at the end of each prompt."""
        scores = self.scorer.scores(texts)
        odds = scores[:, list(self.judge.first)].logsumexp(dim=-1) - scores[:, list(self.judge.second)].logsumexp(dim=-1)
        values = odds.tolist()
        return [values[where[0]] for where in texts.where]


def first_tokens(tokenizer: PreTrainedTokenizerBase, answer: str) -> tuple[int, ...]:
    """The tokens by which an answer can begin: its spellings that are one token each, or if there are none their first tokens."""
    spellings = dict.fromkeys(
        space + spelling for spelling in (answer, answer.lower(), answer.upper(), answer.capitalize()) for space in ("", " ")
    )
    ids = [tokenizer(spelling, add_special_tokens=False)["input_ids"] for spelling in spellings]
    whole = [each[0] for each in ids if len(each) == 1]
    return tuple(dict.fromkeys(whole or [each[0] for each in ids]))
