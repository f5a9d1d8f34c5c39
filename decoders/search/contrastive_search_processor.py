"""Contrastive search as a logits processor, for loops that cannot be replaced: beams, assisted decoding, a server's own."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from counterpoint.decoders.base import ExpertLogitsProcessor
from counterpoint.decoders.checks import check_logits, check_rule, check_states
from counterpoint.decoders.forwards.prefix_cache import PrefixCache
from counterpoint.decoders.forwards.tree_support import candidate_forward, candidate_method
from counterpoint.decoders.hf.caches import CACHE
from counterpoint.decoders.hf.generate_call import current_generate_call
from counterpoint.decoders.hf.model_inputs import beside_text
from counterpoint.decoders.hf.module_state import check_state_is_its_own, module_state
from counterpoint.decoders.hf.padding import seen_tokens
from counterpoint.decoders.hf.positions import position_arguments, positions
from counterpoint.decoders.hf.side_forward import side_forward
from counterpoint.decoders.hf.steps import after_forward, first_inputs
from counterpoint.decoders.hf.unembedding import head_width, narrowed_unembedding
from counterpoint.decoders.hf.wrappers import Model, plain_model
from counterpoint.decoders.locks import Lock
from counterpoint.decoders.search.contrastive_score import Context, contrastive_scores, on_candidates, unit


class ContrastiveSearchLogitsProcessor(ExpertLogitsProcessor):
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
        top_k: Number of candidates; 5 as in the paper, the released demonstrations have 4.
        attention_mask: The prompts' mask ``[prompts, length]`` for loops other than ``generate``, which has it.

    Raises:
        ValueError: For values out of range, encoder-decoder models and empty rows; outside of ``generate`` also for prompts that
            begin with a padding token that is the BOS or EOS token, unless ``attention_mask`` is given.

    Example:
        >>> from transformers import AutoModelForCausalLM, AutoTokenizer
        >>> from counterpoint.decoders import ContrastiveSearchLogitsProcessor
        >>> from counterpoint.eval import AMATEUR
        >>> model, tokenizer = AutoModelForCausalLM.from_pretrained(AMATEUR), AutoTokenizer.from_pretrained(AMATEUR)
        >>> inputs = tokenizer("The whale rose", return_tensors="pt")
        >>> processor = ContrastiveSearchLogitsProcessor(model, penalty_alpha=0.6, top_k=5)
        >>> ids = model.generate(**inputs, logits_processor=[processor], num_beams=2, max_new_tokens=10, do_sample=False)
    """

    def __init__(
        self,
        model: Model,
        *,
        penalty_alpha: float = 0.6,
        top_k: int = 5,
        attention_mask: Int[Tensor, "prompts length"] | None = None,
    ) -> None:
        model = plain_model(model)
        check_rule(penalty_alpha, top_k, head_width(model))
        if model.config.is_encoder_decoder:
            raise ValueError(
                f"{type(model).__name__} is an encoder-decoder model, whose encoder's text a logits processor never sees; "
                "use custom_generate=contrastive_search"
            )
        self.model: Any = model  # transformers leaves the methods that generation adds untyped
        self.penalty_alpha, self.top_k = penalty_alpha, top_k
        self.attention_mask = attention_mask
        self.prefix = PrefixCache(model)
        self.context: Context | None = None  # of what the cache holds
        self.lock = Lock()

    @override
    def next_scores(
        self, input_ids: Int[Tensor, "rows length"], scores: Float[Tensor, "rows vocabulary"]
    ) -> Float[Tensor, "rows vocabulary"]:
        if input_ids.shape[1] == 0:
            raise ValueError("input_ids are empty (inputs_embeds?): contrastive search needs the prompt's tokens")
        call = current_generate_call()
        if call is not None and (told := beside_text(self.model, call.model_kwargs)):
            raise ValueError(
                f"{', '.join(told)}: a logits processor knows the tokens alone; use custom_generate=contrastive_search"
            )
        check_logits(scores)
        confidence, candidates = scores.softmax(dim=-1).topk(self.top_k, dim=-1)
        with self.lock, torch.no_grad(), side_forward(self) as own, own:
            similarity = self._similarity(input_ids, candidates).to(confidence.device)
        contrastive = contrastive_scores(confidence, similarity, self.penalty_alpha)
        return on_candidates(scores, candidates, contrastive)

    def _similarity(self, input_ids: Tensor, candidates: Tensor) -> Tensor:
        """max_j cos(h_v, h_{x_j}) of every candidate."""
        found: list[Tensor] = []
        seen = seen_tokens(self.model, input_ids, self.attention_mask)
        context, kwargs = self._context(input_ids, seen)

        def choose(hidden: Tensor) -> Tensor:
            found.append(context.similarity(unit(hidden)))
            return torch.zeros(len(hidden), dtype=torch.long, device=hidden.device)

        cache = kwargs.get(CACHE)
        forward = candidate_forward("auto", self.model, cache, input_ids.shape[1], len(input_ids), kwargs)
        forward(input_ids, candidates, choose)
        if forward.finish() is not None:  # only now the cache holds the text and nothing else
            self.prefix.keep(input_ids, seen)
        return found[0]

    def _context(self, input_ids: Tensor, seen: Tensor) -> tuple[Context, dict[str, Any]]:
        """Hidden states of the text so far and the arguments of the forward that continues it."""
        if candidate_method(self.model)[0] == "expand":
            kwargs: dict[str, Any] = {"attention_mask": None if bool(seen.all()) else seen.long(), "use_cache": False}
            kwargs |= position_arguments(self.model, seen)
            before = module_state(self.model)
            hidden, output = self._forward(first_inputs(self.model, input_ids, None, kwargs))
            check_state_is_its_own(self.model, before)
            check_states(self.model, hidden, input_ids.shape[1])
            return Context(unit(hidden), seen), after_forward(self.model, output, kwargs)
        held, rows = self.prefix.hold(input_ids, seen, most=input_ids.shape[1])
        if self.context is None or held == 0:
            self.context = None
        else:
            self.context.select(rows, held)
        if held < input_ids.shape[1]:
            arguments = self.prefix.arguments(seen, held)
            hidden, _ = self._forward({"input_ids": input_ids[:, held:], **arguments})
            if self.context is None:
                self.context = Context(unit(hidden), None)
            else:
                self.context.append(unit(hidden))
        assert self.context is not None  # noqa: S101 - a text of no tokens was refused
        padded = self.prefix.padded
        self.context.seen = seen if padded else None
        order = positions(seen)
        return self.context, {
            "attention_mask": torch.cat([seen, seen.new_ones(len(seen), 1)], dim=1).long() if padded else None,
            "position_ids": torch.cat([order, order[:, -1:] + 1], dim=1),
            CACHE: self.prefix.cache,
            "use_cache": True,
        }

    def _forward(self, inputs: dict[str, Any]) -> tuple[Tensor, Any]:
        """A forward of the model, and the last hidden states of all its positions."""
        hidden: list[Tensor] = []

        def narrow(states: Tensor) -> Tensor:
            hidden.append(states)
            return states[:, -1:]

        with narrowed_unembedding(self.model, narrow) as narrowed, narrowed:
            output = self.model(**inputs)
        return hidden[0], output
