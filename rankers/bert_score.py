"""BERTScore: how alike two texts are, token by token, by the states of an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders.hf.devices import ids_device
from counterpoint.rankers.base import Texts
from counterpoint.rankers.weight_files import refusals


class BertScore:
    """BERTScore: F1 of the best matches between the tokens of two texts, for ``ConsensusRanker(utility=BertScore(...))``.

        P = mean_i max_j x_i . y_j,    R = mean_j max_i x_i . y_j,    F1 = 2 * P * R / (P + R)

    x_i and y_j are the unit states of a hypothesis's and a reference's tokens: Zhang et al., *BERTScore: Evaluating Text Generation
    with BERT* (2019, arXiv 1904.09675). As the authors' package has it without weights and baseline, special tokens such as [CLS]
    can be matched and do not count in the means. Each text is read once; N texts take N^2 products of small matrices.

    Args:
        model: An encoder of transformers, such as the one within a bi-encoder.
        tokenizer: Its tokenizer; longer texts than it allows are cut.
        layer: The layer whose states are compared, 0 being the embeddings; the last by default. The authors name the best one for
            each model, 17 for roberta-large.
        batch_size: Number of texts in a forward.

    Raises:
        ValueError: For an encoder-decoder model, and a ``layer`` that the model has not.

    Example:
        >>> from counterpoint.rankers import BertScore, ConsensusRanker
        >>> utility = BertScore.from_pretrained("roberta-large", layer=17)  # doctest: +SKIP
        >>> ranker = ConsensusRanker(utility=utility)  # doctest: +SKIP
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, layer: int | None = None, batch_size: int = 32
    ) -> None:
        depth = int(model.config.num_hidden_layers)
        if model.config.is_encoder_decoder:
            raise ValueError(f"{type(model).__name__} is an encoder-decoder model; BERTScore takes an encoder alone")
        if layer is not None and not 0 <= layer <= depth:
            raise ValueError(f"layer={layer}: {type(model).__name__} has layers 0 to {depth}")
        self.model: Any = model.eval()
        self.tokenizer, self.batch_size = tokenizer, batch_size
        self.layer = depth if layer is None else layer

    @classmethod
    def from_pretrained(
        cls, path: str | Path, *, layer: int | None = None, device: Any = None, trust_remote_code: bool = False
    ) -> BertScore:
        """The encoder of a folder or of the Hugging Face hub; of a bi-encoder's folder the model within it.

        Raises:
            ValueError: If it cannot be loaded.
        """
        with refusals(f"model {path}"):
            tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
            model = AutoModel.from_pretrained(path, trust_remote_code=trust_remote_code)
        return cls(model.to(device), tokenizer, layer=layer)

    def __repr__(self) -> str:
        return f"BertScore({type(self.model).__name__}, layer={self.layer})"

    def __call__(self, hypotheses: Texts, references: Texts) -> Float[Tensor, "hypotheses references"]:
        """F1 of each hypothesis for each reference; 0 where either has no tokens."""
        if not hypotheses or not references:
            return torch.zeros(len(hypotheses), len(references))
        distinct = list(dict.fromkeys([*hypotheses, *references]))
        read = dict(zip(distinct, self.states(distinct), strict=True))
        others = pad_sequence([read[text][0] for text in references], batch_first=True)
        seen = pad_sequence([torch.ones(len(read[text][0]), dtype=torch.bool) for text in references], batch_first=True)
        counted = pad_sequence([read[text][1] for text in references], batch_first=True)
        return torch.stack([f1(*read[text], others, seen, counted) for text in hypotheses])

    @torch.no_grad()
    def states(self, texts: Texts) -> list[tuple[Float[Tensor, "tokens width"], Bool[Tensor, " tokens"]]]:
        """Of each text the unit states of its tokens, and which of them are not special."""
        found = []
        for start in range(0, len(texts), self.batch_size):
            batch: Any = self.tokenizer(
                list(texts[start : start + self.batch_size]),
                padding=True,
                truncation=True,
                return_special_tokens_mask=True,
                return_tensors="pt",
            )
            special = batch.pop("special_tokens_mask").bool()
            output = self.model(**batch.to(ids_device(self.model)), output_hidden_states=True)
            states = normalize(output.hidden_states[self.layer].float(), dim=-1).cpu()
            masks = batch["attention_mask"].bool().cpu()
            found += [(own[mask], ~marks[mask]) for own, mask, marks in zip(states, masks, special, strict=True)]
        return found


def f1(
    states: Float[Tensor, "tokens width"],
    counts: Bool[Tensor, " tokens"],
    others: Float[Tensor, "references length width"],
    seen: Bool[Tensor, "references length"],
    counted: Bool[Tensor, "references length"],
) -> Float[Tensor, " references"]:
    """F1 of the best matches of a text's tokens with those of each reference, padded on the right."""
    alike = (others @ states.T).masked_fill(~seen[..., None], -torch.inf)  # [references, length, tokens]
    precision = mean(alike.amax(dim=1), counts.expand(len(others), -1))
    recall = mean(alike.amax(dim=2), counted)
    total = precision + recall
    return torch.where(total == 0, 0.0, 2 * precision * recall / torch.where(total == 0, 1.0, total))


def mean(values: Float[Tensor, "rows length"], counted: Bool[Tensor, "rows length"]) -> Float[Tensor, " rows"]:
    """The mean of each row over what counts; 0 where nothing does."""
    return values.masked_fill(~counted, 0.0).sum(dim=-1) / counted.sum(dim=-1).clamp(min=1)
