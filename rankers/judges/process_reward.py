"""Process reward models: how probable it is that each step of a text is right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2ForTokenClassification,
)
from typing_extensions import override

from counterpoint.decoders.forwards.ragged import padded
from counterpoint.decoders.forwards.recording import recorded_states
from counterpoint.decoders.hf.configuration import context_length
from counterpoint.decoders.hf.devices import ids_device
from counterpoint.rankers.base import CandidateScorer, Ranker, Scores, Texts, split
from counterpoint.rankers.judges.steps import AGGREGATES, READERS, SHEPHERD_TAG, Steps, aggregated, steps_of
from counterpoint.rankers.weight_files import refusals


class Qwen2ProcessRewardModel(Qwen2ForTokenClassification):
    """Qwen2.5-Math-PRM: a head of two layers and two labels on Qwen2's body."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[no-untyped-call]
        width = config.hidden_size
        self.score: Any = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.num_labels))


CLASSES: dict[str, Any] = {
    "shepherd": AutoModelForCausalLM,
    "chat": AutoModelForCausalLM,
    "qwen": Qwen2ProcessRewardModel,
    "token_classification": AutoModelForTokenClassification,
}
"""What loads the models of each format."""


class ProcessRewardRanker(Ranker):
    r"""Scores a text by how probable a process reward model finds it that each of its steps is right.

        p_t = P(step t is right | prefix, steps 1 to t),    s = p_T, min_t p_t, prod_t p_t or mean_t p_t

    All steps of a text are judged in one forward; blank ones are none. Formats:

        shepherd               Math-Shepherd (Wang et al. 2023, arXiv 2312.08935): a causal model, a tag after each step, the
                               probability of "+" against "-" there
        chat                   RLHFlow: a causal model, each step a message of the user, "+" against "-" where it answers
        qwen                   Qwen2.5-Math-PRM: ``<extra_0>`` after each step of the answer, two labels there, the second one
        token_classification   trl's: two labels at the last token of each step's separator, the second one

    A text's later steps do not change the scores of the earlier ones. Scores are from 0 to 1 and mean the same after any prefix;
    the product falls with every step.

    Args:
        model: A causal model, or one with two labels for each token.
        tokenizer: Its tokenizer.
        format: One of the four.
        step: What separates steps.
        aggregate: ``"last"`` (the default of released searches), ``"min"``, ``"prod"`` or ``"mean"``.
        batch_size: Number of texts in a forward.

    Raises:
        ValueError: For another ``format`` or ``aggregate``, an empty ``step``, and a model or a tokenizer without the format; from
            scoring, for a text that does not fit in the model's context.

    Example:
        >>> from transformers import AutoTokenizer, LlamaConfig, LlamaForTokenClassification
        >>> from counterpoint.rankers import SMALL, ProcessRewardRanker
        >>> tokenizer = AutoTokenizer.from_pretrained(SMALL)
        >>> sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
        >>> model = LlamaForTokenClassification(LlamaConfig(vocab_size=len(tokenizer), num_labels=2, **sizes))
        >>> ranker = ProcessRewardRanker(model, tokenizer, format="token_classification", aggregate="min")
        >>> steps, = ranker.step_scores("1 + 1 + 1?", [" 1 + 1 = 2\n\n2 + 1 = 3"])
        >>> len(steps)
        2
    """

    comparable = True

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        format: str = "shepherd",  # noqa: A002
        step: str = "\n\n",
        aggregate: str = "last",
        batch_size: int = 8,
    ) -> None:
        for name, value, known in (("format", format, tuple(READERS)), ("aggregate", aggregate, AGGREGATES)):
            if value not in known:
                raise ValueError(f"{name}={value!r}: choose one of {', '.join(known)}")
        if not step:
            raise ValueError("step='' separates nothing; pass the text between two steps, such as a blank line")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: give 1 or more")
        self.labels = None if format in ("shepherd", "chat") else model.config.num_labels
        if self.labels not in (None, 2):
            raise ValueError(f"model has {self.labels} labels, and format={format!r} has two for each token, wrong and right")
        if format in ("chat", "qwen") and not tokenizer.chat_template:
            raise ValueError(f"format={format!r} is a chat, and the tokenizer has no chat template: set tokenizer.chat_template")
        self.model, self.tokenizer, self.format, self.step = model, tokenizer, format, step
        self.aggregate, self.batch_size = aggregate, batch_size
        self.signs = [tokenizer(sign, add_special_tokens=False)["input_ids"][-1] for sign in ("+", "-")]
        if format == "shepherd":  # as released: both signs after a space, where the tag stands
            self.signs = [tokenizer(f"{SHEPHERD_TAG} {sign}", add_special_tokens=False)["input_ids"][-1] for sign in ("+", "-")]

    def __repr__(self) -> str:
        name = type(self.model).__name__
        return f"ProcessRewardRanker({name}, format={self.format!r}, step={self.step!r}, aggregate={self.aggregate!r})"

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        format: str = "shepherd",  # noqa: A002
        device: Any = None,
        dtype: Any = "auto",
        **settings: Any,
    ) -> ProcessRewardRanker:
        """A process reward model from a folder or the Hugging Face hub, without code of its own.

        Args:
            path: The folder or the name.
            format: As for the class.
            device: Where it goes.
            dtype: Its dtype; the checkpoint's by default.
            **settings: As for the class.

        Raises:
            ValueError: For another format, for weights that are missing, and for Skywork's, which have a value head of their own.
        """
        if format not in CLASSES:
            raise ValueError(f"format={format!r}: choose one of {', '.join(CLASSES)}")
        if "skywork" in Path(path).name.lower():
            raise ValueError(f"{path} cannot be read without code of its own: its value head, v_head, is not in transformers")
        with refusals(f"model {path}"):
            config = AutoConfig.from_pretrained(path, trust_remote_code=False)
            model, report = CLASSES[format].from_pretrained(
                path, config=config, dtype=dtype, output_loading_info=True, trust_remote_code=False
            )
        if missing := sorted(report["missing_keys"]):
            raise ValueError(f"{path} lacks {', '.join(missing[:3])}, which would be drawn at random: is it another format?")
        if device is not None:
            model.to(device)
        return cls(model.eval(), AutoTokenizer.from_pretrained(path, trust_remote_code=False), format=format, **settings)

    @override
    def prepare(self, prefixes: Texts) -> CandidateScorer:
        def scores_of(candidates: Sequence[Texts]) -> Scores:
            pairs = [(prefix, text) for prefix, texts in zip(prefixes, candidates, strict=True) for text in texts]
            found = {pair: aggregated(steps, self.aggregate) for pair, steps in self.judged(pairs).items()}
            return split(torch.tensor([found[pair] for pair in pairs]), candidates)

        return scores_of

    def step_scores(self, prefix: str, texts: Texts) -> list[list[float]]:
        """The probability of each step of each text."""
        found = self.judged([(prefix, text) for text in texts])
        return [found[prefix, text] for text in texts]

    def judged(self, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[float]]:
        """The probability of each step, by prefix and text; equal ones are read once, and those of like length together."""
        read = {pair: self.read(*pair) for pair in dict.fromkeys(pairs)}
        order = sorted(read, key=lambda pair: -len(read[pair].ids))
        found: dict[tuple[str, str], list[float]] = {}
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            found.update(zip(batch, self.probabilities([read[pair] for pair in batch]), strict=True))
        return found

    def read(self, prefix: str, text: str) -> Steps:
        """The tokens of a text and the positions of its steps.

        Raises:
            ValueError: If it does not fit, or its tags are not tokens of the tokenizer.
        """
        steps = steps_of(text, self.step) or [text.strip()]
        found = READERS[self.format](self.tokenizer, prefix, steps, self.step)
        room = context_length(self.model)
        if room is not None and len(found.ids) > room:
            raise ValueError(f"a text of {len(found.ids)} tokens with its prefix exceeds the model's context of {room}")
        if len(found.positions) != len(steps):
            raise ValueError(f"format={self.format!r} has a tag of one token after each step, which the tokenizer does not know")
        return found

    @torch.no_grad()
    def probabilities(self, texts: Sequence[Steps]) -> list[list[float]]:
        """The probability of each step of each text, in one forward."""
        model: Any = self.model
        ids, mask = padded([text.ids for text in texts], device=ids_device(model))
        rows = [row for row, text in enumerate(texts) for _ in text.positions]
        columns = [position for text in texts for position in text.positions]
        given = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
        if self.labels is None:
            with recorded_states(model, (), lambda hidden: hidden[rows, columns][None], {}) as forward, forward:
                logits: Float[Tensor, "steps classes"] = model(**given).logits[0][:, self.signs[::-1]]
        else:
            logits = model(**given).logits[rows, columns]
        values = iter(logits.float().softmax(dim=-1)[:, 1].tolist())
        return [[next(values) for _ in text.positions] for text in texts]
