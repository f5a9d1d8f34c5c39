"""Where the second distribution of a contrast comes from: another model, several, or whatever else gives logits.

An amateur is given the ids of the ``generate`` in progress, whatever rows beams, finished texts or rejected drafts have made of
them, and gives its own logits of the next token. It keeps a cache of its own and reuses it as far as the ids allow; nothing it
gives depends on earlier calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from typing_extensions import override

from counterpoint.decoders.amateurs.vocabulary import check_same_tokens
from counterpoint.decoders.forwards.given_texts import GivenTexts
from counterpoint.decoders.forwards.prefix_cache import PrefixCache
from counterpoint.decoders.forwards.readable import check_known
from counterpoint.decoders.forwards.recording import ForwardOutputs, Positions
from counterpoint.decoders.forwards.text_forward import forward_texts
from counterpoint.decoders.hf.devices import moved_to
from counterpoint.decoders.hf.generate_call import current_generate_call
from counterpoint.decoders.hf.model_inputs import pictures_and_sounds
from counterpoint.decoders.hf.padding import seen_tokens
from counterpoint.decoders.hf.side_forward import side_forward
from counterpoint.decoders.hf.wrappers import Model, plain_model
from counterpoint.decoders.locks import Lock
from counterpoint.decoders.showing import Shown
from counterpoint.decoders.undoing import Change


@runtime_checkable
class Amateur(Protocol):
    """A distribution over the next token of every row: whatever has this method is an amateur.

    Example:
        >>> import torch
        >>> from counterpoint.decoders import ContrastiveDecodingLogitsProcessor
        >>> class Unigram:
        ...     def __init__(self, counts):
        ...         self.counts = torch.tensor(counts)
        ...
        ...     def logits(self, input_ids):
        ...         return self.counts.log().expand(len(input_ids), -1)
        >>> isinstance(Unigram([3.0, 1.0]), Amateur)
        True
        >>> processor = ContrastiveDecodingLogitsProcessor(Unigram([3.0, 1.0]))
        >>> processor(torch.tensor([[0, 1, 1]]), torch.tensor([[0.0, 0.0]]))
        tensor([[-0.4055,  0.6931]])
    """

    def logits(self, input_ids: Int[Tensor, "rows length"]) -> Float[Tensor, "rows vocabulary"]:
        """Logits of the token that follows ``input_ids``."""


@runtime_checkable
class TextAmateur(Protocol):
    """An amateur that reads given texts at once."""

    def text_outputs(self, texts: GivenTexts, positions: Positions, layers: Sequence[int] = ()) -> ForwardOutputs:
        """What it says at each of the ``positions`` of ``texts``, by its own prompts if it has some."""


class ModelAmateur(Shown, Amateur, TextAmateur):
    """Another language model, typically a smaller one with the same vocabulary.

    Its cost is its own forward of the tokens that are new since the last call, and its cache. It may lie on another device, have
    another dtype, be quantised or spread by ``device_map``. Models whose state is not in a cache (RWKV, RecurrentGemma) compute the
    whole text each step.

    Args:
        model: The decoder-only amateur.
        tokenizer: Its tokenizer, and
        expert_tokenizer: the expert's: their vocabularies are then compared token by token, and logits of different widths, which
            some families pad, are allowed.
        attention_mask: The prompts' mask ``[prompts, length]`` for loops other than ``generate``, which has it.

    Raises:
        ValueError: For an encoder-decoder model, and for tokenizers that differ; the message names the first difference. At the
            first token, for ids that the amateur does not know, and for a prompt with pictures or sounds, which it is not given.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import ModelAmateur
        >>> from counterpoint.eval import AMATEUR
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(AMATEUR), AutoTokenizer.from_pretrained(AMATEUR)
        >>> ModelAmateur(model).logits(tokenizer("The whale", return_tensors="pt").input_ids).shape
        torch.Size([1, 8192])
    """

    def __init__(
        self,
        model: Model,
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        expert_tokenizer: PreTrainedTokenizerBase | None = None,
        attention_mask: Int[Tensor, "prompts length"] | None = None,
    ) -> None:
        model = plain_model(model)
        if model.config.is_encoder_decoder:
            raise ValueError(f"{type(model).__name__} is an encoder-decoder model; use EncoderDecoderAmateur")
        self.model: Any = model
        self.attention_mask = attention_mask
        self.known_tokens: int | None = None
        """Number of tokens that both vocabularies are known to share."""
        if tokenizer is not None and expert_tokenizer is not None:
            check_same_tokens(expert_tokenizer, tokenizer)
            self.known_tokens = len(tokenizer)
        self.prefix = PrefixCache(model)
        self.lock = Lock()

    @override
    def logits(self, input_ids: Int[Tensor, "rows length"]) -> Float[Tensor, "rows vocabulary"]:
        ids, seen = self.text(moved_to(self.model, input_ids))
        with self.lock, torch.no_grad():
            return self.next_logits(ids, seen).float().to(input_ids.device)

    def text(self, input_ids: Int[Tensor, "rows length"]) -> tuple[Int[Tensor, "rows own"], Bool[Tensor, "rows own"]]:
        """The amateur's own ids of every row, and which of them are not padding."""
        if input_ids.shape[1] == 0:
            raise ValueError("input_ids are empty (inputs_embeds?): an amateur needs the prompt's tokens; pass input_ids as well")
        call = current_generate_call()
        unseen: list[str] = []
        if call is not None and call.model is not None and not call.model.config.is_encoder_decoder:
            unseen = pictures_and_sounds(call.model, call.model_kwargs)
        check_sees_all(self, unseen)
        return input_ids, seen_tokens(self.model, input_ids, self.attention_mask)

    def next_logits(self, ids: Int[Tensor, "rows own"], seen: Bool[Tensor, "rows own"]) -> Float[Tensor, "rows vocabulary"]:
        """One forward of what the cache does not hold, the last token at least."""
        held, _ = self.prefix.hold(ids, seen, most=ids.shape[1] - 1)
        check_known(self.model, [self.prefix.largest])
        arguments = self.prefix.arguments(seen, held)
        if "logits_to_keep" in self.prefix.parameters:
            arguments["logits_to_keep"] = 1
        with side_forward(self) as own, own:
            logits: Tensor = self.model(input_ids=ids[:, held:], **arguments).logits[:, -1]
        self.prefix.keep(ids, seen)
        return logits

    @override
    def text_outputs(self, texts: GivenTexts, positions: Positions, layers: Sequence[int] = ()) -> ForwardOutputs:
        check_sees_all(self, sorted({name for each in texts.beside for name in each}))
        with self.lock, torch.no_grad(), side_forward(self) as own, own:
            return forward_texts(self.prefix, texts.decoder_only(), positions, layers)

    def running(self) -> Change:
        """While it lasts, forwards of the model are the amateur's own."""
        return side_forward(self)


class PooledAmateur(Shown, Amateur, TextAmateur):
    """Several amateurs as one: sum_i w_i * ln p_i(v), their log-linear pool.

    Args:
        amateurs: The distributions, at least one.
        weights: Their weights w_i; equal ones that sum to 1 by default.

    Raises:
        ValueError: For no amateurs, or another number of weights.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import ModelAmateur, PooledAmateur
        >>> from counterpoint.eval import AMATEUR, EXPERT
        >>> models = [AutoModelForCausalLM.from_pretrained(path) for path in (AMATEUR, EXPERT)]
        >>> ids = AutoTokenizer.from_pretrained(AMATEUR)("The whale", return_tensors="pt").input_ids
        >>> PooledAmateur([ModelAmateur(model) for model in models]).logits(ids).shape
        torch.Size([1, 8192])
    """

    def __init__(self, amateurs: Sequence[Amateur], *, weights: Sequence[float] | None = None) -> None:
        if not amateurs:
            raise ValueError("amateurs is empty: pool at least one")
        self.amateurs = list(amateurs)
        self.weights = [1 / len(amateurs)] * len(amateurs) if weights is None else list(weights)
        if len(self.weights) != len(self.amateurs):
            raise ValueError(f"weights: {len(self.weights)} for {len(self.amateurs)} amateurs; give one each")

    @property
    def known_tokens(self) -> int | None:
        """Number of tokens that all vocabularies are known to share; None where one was not compared with the expert's."""
        known = [amateur.known_tokens if isinstance(amateur, ModelAmateur | PooledAmateur) else None for amateur in self.amateurs]
        return min(each for each in known if each is not None) if None not in known else None

    @override
    def logits(self, input_ids: Int[Tensor, "rows length"]) -> Float[Tensor, "rows vocabulary"]:
        return self.pooled([amateur.logits(input_ids) for amateur in self.amateurs])

    @override
    def text_outputs(self, texts: GivenTexts, positions: Positions, layers: Sequence[int] = ()) -> ForwardOutputs:
        return ForwardOutputs(
            self.pooled([amateur_outputs(amateur, texts, positions).logits.float() for amateur in self.amateurs]), {}
        )

    def pooled(self, logits: Sequence[Float[Tensor, "rows _"]]) -> Float[Tensor, "rows vocabulary"]:
        """The pool of each amateur's logits, over the tokens that they are known to share."""
        logits = [each[..., : self.known_tokens] for each in logits]
        if len(widths := {each.shape[-1] for each in logits}) > 1:
            raise ValueError(
                f"amateurs: logits over {', '.join(map(str, sorted(widths)))} tokens; if only the padding of embeddings differs, "
                "pass tokenizer= and expert_tokenizer= to each ModelAmateur"
            )
        parts = [weight * each.log_softmax(dim=-1) for weight, each in zip(self.weights, logits, strict=True)]
        return torch.stack(parts).sum(dim=0)


def check_sees_all(amateur: object, unseen: Sequence[str]) -> None:
    """The amateur reads a text in whose places nothing stands that it is not given.

    Raises:
        ValueError: Naming the arguments ``unseen`` that tell of it.
    """
    if unseen:
        raise ValueError(
            f"{', '.join(unseen)}: {type(amateur).__name__} would read their places in the text without what stands there; "
            "use PromptAmateur with a prompt of text alone, as ContextAwareLogitsProcessor does, or LastTokenAmateur"
        )


def amateur_outputs(amateur: Amateur, texts: GivenTexts, positions: Positions, layers: Sequence[int] = ()) -> ForwardOutputs:
    """What any amateur says at positions of given texts: read at once, or asked for texts of one length after those of another."""
    if isinstance(amateur, TextAmateur):
        return amateur.text_outputs(texts, positions, layers)
    written = [texts.before(text, tokens) for text, tokens in positions]
    logits: dict[int, Tensor] = {}
    for length in sorted(set(map(len, written))):
        rows = [index for index, ids in enumerate(written) if len(ids) == length]
        logits |= zip(rows, amateur.logits(torch.tensor([written[row] for row in rows])), strict=True)
    return ForwardOutputs(torch.stack([logits[index] for index in range(len(written))]), {})
