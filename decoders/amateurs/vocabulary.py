"""Whether an expert and an amateur mean the same tokens by the same ids."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase


def check_same_tokens(expert: PreTrainedTokenizerBase, amateur: PreTrainedTokenizerBase) -> None:
    """Both tokenizers have the same tokens under the same ids.

    Raises:
        ValueError: Naming the first id at which they differ.
    """
    theirs, ours = ({index: token for token, index in one.get_vocab().items()} for one in (expert, amateur))
    for index in sorted(theirs.keys() | ours.keys()):
        if theirs.get(index) != ours.get(index):
            raise ValueError(
                f"the vocabularies differ: token {index} is {theirs.get(index)!r} for the expert ({len(theirs)} tokens) and "
                f"{ours.get(index)!r} for the amateur ({len(ours)} tokens); a contrast needs models with one tokenizer"
            )


def aligned(logits: Float[Tensor, "*batch vocabulary"], width: int, known_tokens: int | None) -> Float[Tensor, "*batch width"]:
    """An amateur's logits for an expert whose logits have ``width`` columns.

    Where both tokenizers are known to share ``known_tokens`` tokens, ids beyond those mean nothing to either model and get -inf.

    Raises:
        ValueError: If the widths differ and the tokenizers were not compared.
    """
    if known_tokens is None:
        if logits.shape[-1] != width:
            raise ValueError(
                f"the amateur's logits are over {logits.shape[-1]} tokens, the expert's over {width}: a contrast needs one "
                "vocabulary; if only the padding of the embeddings differs, pass tokenizer= and expert_tokenizer= to ModelAmateur"
            )
        return logits
    return nn.functional.pad(logits[..., :known_tokens], (0, width - known_tokens), value=-float("inf"))
