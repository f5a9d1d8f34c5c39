"""Where the second distribution of a contrast comes from: another model, or the same one under another prompt.

An amateur is given the ids of the ``generate`` in progress, whatever rows beams, finished texts or rejected drafts have made of
them, and gives its own logits of the next token. It keeps a cache of its own and reuses it as far as the ids allow; nothing it
gives depends on earlier calls.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from counterpoint.decoders.generate_call import current_generate_call
from counterpoint.decoders.given_texts import GivenTexts
from counterpoint.decoders.padding import seen_tokens
from counterpoint.decoders.prefix_cache import STATE_IN_MODULES, PrefixCache
from counterpoint.decoders.side_forward import side_forward
from counterpoint.decoders.text_forward import Positions, Read, read, read_decoded_rows
from counterpoint.decoders.vocabulary import check_same_tokens


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
class TextReader(Protocol):
    """An amateur that reads given texts at once."""

    def read(self, texts: GivenTexts, positions: Positions, layers: Sequence[int] = ()) -> Read:
        """What it says at each of the ``positions`` of ``texts``, by its own prompts if it has some."""


class ModelAmateur:
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
        ValueError: For an encoder-decoder model, and for tokenizers that differ; the message names the first difference.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import ModelAmateur
        >>> from counterpoint.eval import AMATEUR
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(AMATEUR), AutoTokenizer.from_pretrained(AMATEUR)
        >>> ModelAmateur(model).logits(tokenizer("The whale", return_tensors="pt").input_ids).shape
        torch.Size([1, 2048])
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None = None,
        expert_tokenizer: PreTrainedTokenizerBase | None = None,
        attention_mask: Int[Tensor, "prompts length"] | None = None,
    ) -> None:
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
        self.lock = threading.RLock()

    def logits(self, input_ids: Int[Tensor, "rows length"]) -> Float[Tensor, "rows vocabulary"]:
        """See :class:`Amateur`."""
        device = self.model.get_input_embeddings().weight.device
        ids, seen = self.text(input_ids.to(device))
        with self.lock, torch.no_grad():
            return self.next_logits(ids, seen).float().to(input_ids.device)

    def text(self, input_ids: Int[Tensor, "rows length"]) -> tuple[Int[Tensor, "rows own"], Bool[Tensor, "rows own"]]:
        """The amateur's own ids of every row, and which of them are not padding."""
        if input_ids.shape[1] == 0:
            raise ValueError("input_ids are empty (inputs_embeds?): an amateur needs the prompt's tokens; pass input_ids as well")
        return input_ids, seen_tokens(self.model, input_ids, self.attention_mask)

    def next_logits(self, ids: Int[Tensor, "rows own"], seen: Bool[Tensor, "rows own"]) -> Float[Tensor, "rows vocabulary"]:
        """One forward of what the cache does not hold, the last token at least."""
        held, _ = self.prefix.hold(ids, seen, most=ids.shape[1] - 1)
        arguments = self.prefix.arguments(seen, held)
        if "logits_to_keep" in self.prefix.parameters:
            arguments["logits_to_keep"] = 1
        with side_forward(self):
            logits: Tensor = self.model(input_ids=ids[:, held:], **arguments).logits[:, -1]
        self.prefix.keep(ids, seen)
        return logits

    def read(self, texts: GivenTexts, positions: Positions, layers: Sequence[int] = ()) -> Read:
        """See :class:`TextReader`."""
        with self.lock, torch.no_grad(), side_forward(self):
            return read(self.prefix, texts, positions, layers)


class PromptAmateur(ModelAmateur):
    """A model under another prompt: what it would say without the context, with a misleading instruction, or after one token.

    The tokens generated so far follow the other prompt as they follow the real one. With the expert itself as ``model`` there is
    no second copy of the weights.

    Args:
        model: The decoder-only model.
        prompt: ``input_ids [prompts, width]`` of the other prompts and, if they are padded (on the left), their
            ``attention_mask``: what ``tokenizer(..., return_tensors="pt", padding=True)`` gives. One for every row of the batch.
        prompt_length: Width of the real prompts, for loops other than ``generate``, which knows it.

    Raises:
        ValueError: For prompts without tokens ("none" is the BOS token), padding on the right, or a number of rows that is no
            multiple of the prompts'.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import PromptAmateur
        >>> from counterpoint.eval import AMATEUR
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(AMATEUR), AutoTokenizer.from_pretrained(AMATEUR)
        >>> inputs = tokenizer("Seen from the ship, the whale", return_tensors="pt")
        >>> without = PromptAmateur(model, tokenizer("The whale", return_tensors="pt"), prompt_length=inputs.input_ids.shape[1])
        >>> without.logits(inputs.input_ids).shape
        torch.Size([1, 2048])
    """

    def __init__(self, model: PreTrainedModel, prompt: Mapping[str, Tensor], prompt_length: int | None = None) -> None:
        super().__init__(model)
        if model.config.model_type in STATE_IN_MODULES:
            raise ValueError(f"{type(model).__name__} keeps the text's state in its modules: a second prompt would overwrite it")
        self.prompt = prompt["input_ids"]
        if self.prompt.ndim != 2 or self.prompt.shape[1] == 0:
            raise ValueError(f"prompt: input_ids of shape {tuple(self.prompt.shape)}; at least one token a row is needed, e.g. BOS")
        mask = prompt.get("attention_mask")
        self.prompt_seen = torch.ones_like(self.prompt, dtype=torch.bool) if mask is None else mask.bool()
        if not bool(self.prompt_seen[:, -1].all()):
            raise ValueError("prompt: a row ends in padding or has no token; pad on the left (tokenizer.padding_side = 'left')")
        self.prompt_length = prompt_length

    def text(self, input_ids: Int[Tensor, "rows length"]) -> tuple[Int[Tensor, "rows own"], Bool[Tensor, "rows own"]]:
        """See :meth:`ModelAmateur.text`."""
        rows, prompts = len(input_ids), len(self.prompt)
        if rows % prompts:
            raise ValueError(f"prompt has {prompts} rows, the batch {rows}: give one other prompt for every prompt")
        new = input_ids[:, self._prompt_length() :]
        prompt = self.prompt.to(input_ids.device).repeat_interleave(rows // prompts, dim=0)
        seen = self.prompt_seen.to(input_ids.device).repeat_interleave(rows // prompts, dim=0)
        return torch.cat([prompt, new], dim=1), torch.cat([seen, torch.ones_like(new, dtype=torch.bool)], dim=1)

    def read(self, texts: GivenTexts, positions: Positions, layers: Sequence[int] = ()) -> Read:
        """See :class:`TextReader`."""
        return super().read(texts.under(unpadded(self.prompt, self.prompt_seen)), positions, layers)

    def _prompt_length(self) -> int:
        if self.prompt_length is not None:
            return self.prompt_length
        call = current_generate_call()
        if call is None or call.input_ids is None:
            raise ValueError("prompt_length=None: outside of generate() say how many tokens of input_ids are the prompt")
        return call.input_ids.shape[1]


class EncoderDecoderAmateur:
    """An encoder-decoder model: another one, or the expert with another text in its encoder.

    It computes the decoder's whole text each step, without a cache.

    Args:
        model: The encoder-decoder model.
        inputs: What its encoder takes: ``input_ids [prompts, length]`` and ``attention_mask``.

    Raises:
        ValueError: For a decoder-only model, or a number of rows that is no multiple of the prompts'.

    Example:
        >>> import torch
        >>> from transformers import BartConfig, BartForConditionalGeneration
        >>> from counterpoint.decoders import EncoderDecoderAmateur
        >>> config = BartConfig(vocab_size=50, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1,
        ...     decoder_attention_heads=1, encoder_ffn_dim=8, decoder_ffn_dim=8)
        >>> amateur = EncoderDecoderAmateur(BartForConditionalGeneration(config).eval(), {"input_ids": torch.tensor([[5, 6, 7]])})
        >>> amateur.logits(torch.tensor([[2, 9]])).shape
        torch.Size([1, 50])
    """

    def __init__(self, model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> None:
        if not model.config.is_encoder_decoder:
            raise ValueError(f"{type(model).__name__} has no encoder; use ModelAmateur or PromptAmateur")
        self.model: Any = model
        self.ids, self.mask = inputs["input_ids"], inputs.get("attention_mask")
        with torch.no_grad(), side_forward(self):
            self.encoded: Tensor = model.get_encoder()(input_ids=self.ids, attention_mask=self.mask).last_hidden_state

    def logits(self, input_ids: Int[Tensor, "rows length"]) -> Float[Tensor, "rows vocabulary"]:
        """See :class:`Amateur`."""
        rows, prompts = len(input_ids), len(self.encoded)
        if rows % prompts:
            raise ValueError(f"inputs have {prompts} rows, the batch {rows}: give the encoder one text for every prompt")
        mask = None if self.mask is None else self.mask.repeat_interleave(rows // prompts, dim=0)
        with torch.no_grad(), side_forward(self):
            output = self.model(
                encoder_outputs=(self.encoded.repeat_interleave(rows // prompts, dim=0),),
                attention_mask=mask,
                decoder_input_ids=input_ids.to(self.model.device),
                use_cache=False,
            )
        logits: Tensor = output.logits[:, -1].float().to(input_ids.device)
        return logits

    def read(self, texts: GivenTexts, positions: Positions, layers: Sequence[int] = ()) -> Read:
        """See :class:`TextReader`."""
        seen = torch.ones_like(self.ids) if self.mask is None else self.mask
        with torch.no_grad(), side_forward(self):
            return read_decoded_rows(self.model, texts.under(unpadded(self.ids, seen.bool())), positions)


class PooledAmateur:
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
        torch.Size([1, 2048])
    """

    def __init__(self, amateurs: Sequence[Amateur], weights: Sequence[float] | None = None) -> None:
        if not amateurs:
            raise ValueError("amateurs is empty: pool at least one")
        self.amateurs = list(amateurs)
        self.weights = [1 / len(amateurs)] * len(amateurs) if weights is None else list(weights)
        if len(self.weights) != len(self.amateurs):
            raise ValueError(f"weights: {len(self.weights)} for {len(self.amateurs)} amateurs; give one each")

    def logits(self, input_ids: Int[Tensor, "rows length"]) -> Float[Tensor, "rows vocabulary"]:
        """See :class:`Amateur`."""
        return self.pooled([amateur.logits(input_ids) for amateur in self.amateurs])

    def read(self, texts: GivenTexts, positions: Positions, layers: Sequence[int] = ()) -> Read:
        """See :class:`TextReader`."""
        return Read(self.pooled([read_amateur(amateur, texts, positions).logits.float() for amateur in self.amateurs]), {})

    def pooled(self, logits: Sequence[Float[Tensor, "rows vocabulary"]]) -> Float[Tensor, "rows vocabulary"]:
        """The pool of each amateur's logits."""
        parts = [weight * each.log_softmax(dim=-1) for weight, each in zip(self.weights, logits, strict=True)]
        return torch.stack(parts).sum(dim=0)


def read_amateur(amateur: Amateur, texts: GivenTexts, positions: Positions, layers: Sequence[int] = ()) -> Read:
    """What any amateur says at positions of given texts: read at once, or asked for texts of one length after those of another."""
    if isinstance(amateur, TextReader):
        return amateur.read(texts, positions, layers)
    written = [(*texts.written(text), *texts.continuations[text][:before]) for text, before in positions]
    logits: dict[int, Tensor] = {}
    for length in sorted(set(map(len, written))):
        rows = [index for index, ids in enumerate(written) if len(ids) == length]
        logits |= zip(rows, amateur.logits(torch.tensor([written[row] for row in rows])), strict=True)
    return Read(torch.stack([logits[index] for index in range(len(written))]), {})


def unpadded(ids: Int[Tensor, "rows width"], seen: Bool[Tensor, "rows width"]) -> list[tuple[int, ...]]:
    """Each row's tokens without its padding."""
    return [tuple(row[kept].tolist()) for row, kept in zip(ids, seen, strict=True)]
