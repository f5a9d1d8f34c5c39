"""Contrastive search as a logits processor, for loops that cannot be replaced: beams, assisted decoding, a server's own."""

from __future__ import annotations

import threading
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel

from counterpoint.decoders.checks import check_logits, check_rule
from counterpoint.decoders.degeneration import Context, contrastive_scores
from counterpoint.decoders.prefix_cache import PrefixCache
from counterpoint.decoders.tree_support import candidate_forward, candidate_method
from counterpoint.decoders.unembedding import narrowed_unembedding


class ContrastiveSearchLogitsProcessor(LogitsProcessor):
    """Scores of contrastive search, for ``model.generate(..., logits_processor=[ContrastiveSearchLogitsProcessor(model)])``.

    The ``top_k`` most probable tokens get (1 - penalty_alpha) * p(v | x) - penalty_alpha * max_j cos(h_v, h_{x_j})
    (arXiv 2202.06417, equation 5), all others -inf. In greedy search this is
    :func:`~counterpoint.decoders.contrastive_search`; beams add the scores up; sampling draws from their softmax, to be sharpened
    by ``temperature`` (0.1, say). The result depends on the ids of the call alone, so rows may be reordered, taken back or belong
    to another ``generate``.

    Its cost: every step is two more forwards of ``model``, of the tokens new since the last call and of ``top_k`` candidates, and
    a second cache is held; where :func:`~counterpoint.decoders.candidate_method` says "expand", every step computes ``top_k`` + 1
    whole texts a row. Use ``custom_generate=contrastive_search`` wherever the loop can be replaced.

    Args:
        model: The decoder-only model that generates.
        penalty_alpha: Weight of the degeneration penalty in [0, 1]; 0.6 as in the paper. 0 leaves the order of tokens alone.
        top_k: Number of candidates; 4 as in the released demonstrations.
        attention_mask: The prompts' mask ``[prompts, length]``, where padding cannot be told from ``pad_token_id``.
        pad_token_id: The token of left padding; the model's own by default. Only a row's leading run of it is padding.

    Raises:
        ValueError: For values out of range, encoder-decoder models, empty rows, and prompts that begin with a padding token that
            is also the BOS or EOS token, unless ``attention_mask`` is given.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import ContrastiveSearchLogitsProcessor
        >>> from counterpoint.eval import AMATEUR
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(AMATEUR), AutoTokenizer.from_pretrained(AMATEUR)
        >>> inputs = tokenizer("The whale rose", return_tensors="pt")
        >>> processor = ContrastiveSearchLogitsProcessor(model, penalty_alpha=0.6, top_k=4)
        >>> ids = model.generate(**inputs, logits_processor=[processor], num_beams=2, max_new_tokens=10, do_sample=False)
    """

    def __init__(
        self,
        model: PreTrainedModel,
        penalty_alpha: float = 0.6,
        top_k: int = 4,
        attention_mask: Int[Tensor, "prompts length"] | None = None,
        pad_token_id: int | None = None,
    ) -> None:
        check_rule(penalty_alpha, top_k, model.config.get_text_config(decoder=True).vocab_size)
        if model.config.is_encoder_decoder:
            raise ValueError(
                f"{type(model).__name__} is an encoder-decoder model, whose encoder's text a logits processor never sees; "
                "use custom_generate=contrastive_search"
            )
        self.model: Any = model  # transformers leaves the methods that generation adds untyped
        self.penalty_alpha, self.top_k = penalty_alpha, top_k
        self.attention_mask = attention_mask
        self.pad_token_id = model.generation_config.pad_token_id if pad_token_id is None else pad_token_id
        self.prefix = PrefixCache(model)
        self.lock = threading.Lock()

    def __call__(
        self, input_ids: Int[Tensor, "rows length"], scores: Float[Tensor, "rows vocabulary"]
    ) -> Float[Tensor, "rows vocabulary"]:
        """Contrastive scores of the candidates, -inf for all other tokens; ``scores`` may be logits or log-probabilities."""
        if input_ids.shape[1] == 0:
            raise ValueError("input_ids are empty (inputs_embeds?): contrastive search needs the prompt's tokens")
        check_logits(scores)
        confidence, candidates = scores.softmax(dim=-1).topk(self.top_k, dim=-1)
        with self.lock, torch.no_grad():
            similarity = self._similarity(input_ids, candidates).to(confidence.device)
        contrastive = contrastive_scores(confidence, similarity, self.penalty_alpha)
        banned = scores.gather(1, candidates) == -torch.inf
        return torch.full_like(scores, -torch.inf).scatter(
            1, candidates, contrastive.masked_fill(banned, -torch.inf).to(scores.dtype)
        )

    def _similarity(self, input_ids: Tensor, candidates: Tensor) -> Tensor:
        """max_j cos(h_v, h_{x_j}) of every candidate."""
        found: list[Tensor] = []
        context, kwargs = self._context(input_ids)

        def choose(hidden: Tensor) -> Tensor:
            found.append(context.similarity(hidden))
            return torch.zeros(len(hidden), dtype=torch.long, device=hidden.device)

        cache = kwargs.get("past_key_values")
        forward = candidate_forward("auto", self.model, cache, input_ids.shape[1], len(input_ids), kwargs)
        forward(input_ids, candidates, choose)
        forward.finish()
        return found[0]

    def _context(self, input_ids: Tensor) -> tuple[Context, dict[str, Any]]:
        """Hidden states of the text so far and the arguments of the forward that continues it."""
        seen = self._seen(input_ids)
        if candidate_method(self.model)[0] == "tree":
            return self.prefix.follow(input_ids, seen)
        hidden: list[Tensor] = []

        def narrow(states: Tensor) -> Tensor:
            hidden.append(states)
            return states[:, -1:]

        kwargs: dict[str, Any] = {"attention_mask": None if bool(seen.all()) else seen.long(), "use_cache": False}
        with narrowed_unembedding(self.model, narrow):
            output = self.model(**self.model.prepare_inputs_for_generation(input_ids, is_first_iteration=True, **kwargs))
        return Context(hidden[0], seen), self.model._update_model_kwargs_for_generation(output, kwargs)

    def _seen(self, input_ids: Tensor) -> Bool[Tensor, "rows length"]:
        """False on left padding: by the given mask, else by each row's leading run of the padding token."""
        if self.attention_mask is not None:
            prompts, length = self.attention_mask.shape
            seen = torch.ones_like(input_ids, dtype=torch.bool)
            mask = self.attention_mask.to(input_ids.device).bool().repeat_interleave(len(input_ids) // prompts, dim=0)
            seen[:, :length] = mask[:, : input_ids.shape[1]]
            return seen
        seen = (input_ids != self.pad_token_id).cumsum(dim=-1) > 0 if self.pad_token_id is not None else input_ids >= 0
        config = self.model.generation_config
        special = {
            config.bos_token_id,
            *([config.eos_token_id] if not isinstance(config.eos_token_id, list) else config.eos_token_id),
        }
        if not bool(seen[:, 0].all()) and self.pad_token_id in special:
            raise ValueError(
                f"pad_token_id={self.pad_token_id} is also the BOS or EOS token and begins a row: whether that is padding cannot "
                "be told; pass attention_mask= to ContrastiveSearchLogitsProcessor"
            )
        return seen
