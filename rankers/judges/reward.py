"""Reward models: sequence classification with one label, trained on preferences."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from typing_extensions import override

from counterpoint.decoders.forwards.encoding import encode_pair, encode_prompt
from counterpoint.decoders.forwards.ragged import padded
from counterpoint.decoders.hf.configuration import context_length
from counterpoint.decoders.hf.devices import ids_device
from counterpoint.rankers.base import CandidateScorer, Ranker, Scores, Texts, split
from counterpoint.rankers.sentence import ending
from counterpoint.rankers.weight_files import refusals

Messages = Sequence[Mapping[str, Any]]
"""A conversation in the form of chat templates."""

OWN_CODE = {
    "armorm|rewardmodelwithgating": "its score is a gate over 19 objectives, which transformers does not have",
    "athene": "its head is called v_head and reads a token that its code appends; loaded here, the head would be drawn at random",
    "pairrm": "it reads two answers in one text by code of its own; a pairwise JudgeRanker compares by a language model",
    "internlm2": "its head is called v_head, and its body is not in transformers",
    "qwen2.5-math-rm|qwen2forrewardmodel": "its head has two layers (Qwen2ForRewardModel)",
}
"""Reward models that need code of their own, by what is in their names or their classes', and why."""


class RewardModelRanker(Ranker):
    r"""Scores a continuation by a reward model: sequence classification with one label.

        s(prefix, x) = w . h(last token of the conversation) + b

    The prefix is the user's message and the continuation, without the space that it begins with, the assistant's; the model's chat
    template writes both, closed, and no special token is added to it. Scores are the raw logits, on which these models were
    trained: by Bradley and Terry's model sigmoid(s(x) - s(y)) is the probability that x is preferred to y after the same prefix. A
    constant of each prefix is free in it, so that scores are not comparable across prefixes.

    The last token is found by the attention mask, the head is computed in float32 whatever the dtype, and texts are read in
    batches of like length, padded on the right. Of a prefix that does not fit with its continuation the end is kept.

    Beginnings of texts, as in the rounds of :func:`~counterpoint.rankers.ranked_search`, are scored as if they ended there, which
    reward models were not trained on.

    Args:
        model: A causal model with a classification head of one label, such as Skywork-Reward and most others.
        tokenizer: Its tokenizer, with a chat template.
        messages: Gives the conversation before the assistant's answer, from the prefix; by default the user's message alone.
        template: Whether the chat template is used; without it the prefix and the continuation are joined as they are.
        max_length: The most tokens of a text; 0 is the model's context.
        batch_size: Number of texts in a forward.

    Raises:
        ValueError: For a model with another head or several labels, or a tokenizer without a chat template; from scoring, for a
            continuation that does not fit by itself.

    Example:
        >>> from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification
        >>> from counterpoint.rankers import SMALL, RewardModelRanker
        >>> tokenizer = AutoTokenizer.from_pretrained(SMALL)
        >>> tokenizer.chat_template = "{% for each in messages %}[{{ each.role }}] {{ each.content }}\n{% endfor %}"
        >>> sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
        >>> config = LlamaConfig(vocab_size=len(tokenizer), num_labels=1, **sizes)
        >>> ranker = RewardModelRanker(LlamaForSequenceClassification(config), tokenizer)  # in its place any reward model
        >>> scores, = ranker.score(["What is 1 + 1?"], [["2", "It is 3."]])
        >>> preferred = (scores[0] - scores[1]).sigmoid()  # the probability that a reader prefers the first
    """

    comparable = False

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        messages: Callable[[str], Messages] | None = None,
        template: bool = True,
        max_length: int = 0,
        batch_size: int = 8,
    ) -> None:
        check_reward_model(model)
        if template and not tokenizer.chat_template:
            raise ValueError("template=True, and the tokenizer has no chat template: set it, or pass template=False to join texts")
        if messages is not None and not template:
            raise ValueError("messages are written by the chat template, and template=False has none: leave one of them out")
        for name, value, least in (("max_length", max_length, 0), ("batch_size", batch_size, 1)):
            if value < least:
                raise ValueError(f"{name}={value}: give {least} or more")
        self.model, self.tokenizer, self.messages, self.template = model, tokenizer, messages, template
        self.room = max_length or context_length(model)
        self.batch_size = batch_size

    def __repr__(self) -> str:
        return f"RewardModelRanker({type(self.model).__name__}, template={self.template}, max_length={self.room or 0})"

    @classmethod
    def from_pretrained(
        cls, path: str | Path, *, device: Any = None, dtype: Any = "auto", device_map: Any = None, **settings: Any
    ) -> RewardModelRanker:
        """A reward model from a folder or the Hugging Face hub, without code of its own.

        Args:
            path: The folder or the name.
            device: Where it goes.
            dtype: Its dtype; the checkpoint's by default.
            device_map: Where its parts go, in place of one device.
            **settings: As for the class.

        Raises:
            ValueError: For models that need code of their own, by name and with the reason, and for weights that are missing.
        """
        with refusals(f"model {path}", "a ranker of your own can run it (a subclass of counterpoint.rankers.Ranker)"):
            check_no_own_code(str(path), AutoConfig.from_pretrained(path, trust_remote_code=False))
            model, report = AutoModelForSequenceClassification.from_pretrained(
                path, dtype=dtype, device_map=device_map, output_loading_info=True, trust_remote_code=False
            )
        if missing := sorted(report["missing_keys"]):
            raise ValueError(
                f"{path} lacks {', '.join(missing[:3])}, which would be drawn at random: it is no reward model with a plain head"
            )
        if device is not None and device_map is None:
            model.to(device)
        return cls(model.eval(), AutoTokenizer.from_pretrained(path, trust_remote_code=False), **settings)

    @override
    def prepare(self, prefixes: Texts) -> CandidateScorer:
        def scores_of(candidates: Sequence[Texts]) -> Scores:
            pairs = [(prefix, text) for prefix, texts in zip(prefixes, candidates, strict=True) for text in texts]
            distinct = {pair: tuple(self.encoded(*pair)) for pair in dict.fromkeys(pairs)}
            found = self.rewards(list(dict.fromkeys(distinct.values())))
            return split(torch.tensor([found[distinct[pair]] for pair in pairs]), candidates)

        return scores_of

    def encoded(self, prefix: str, text: str) -> list[int]:
        """The tokens of a conversation, of which the beginning of the prefix is left out if it is too long.

        Raises:
            ValueError: If it does not fit even so.
        """
        whole = self.tokens(prefix, text)
        if self.room is None or len(whole) <= self.room:
            return whole
        if self.messages is None:
            whole = self.tokens(ending(prefix, lambda end: len(self.tokens(end, text)) <= (self.room or 0)), text)
        if len(whole) > self.room:
            raise ValueError(
                f"a conversation of {len(whole)} tokens exceeds max_length={self.room}, and of the answer nothing is cut: "
                f"{text!r:.80}"
            )
        return whole

    def tokens(self, prefix: str, text: str) -> list[int]:
        """All tokens of a conversation."""
        if not self.template:
            before, after = encode_pair(self.tokenizer, prefix, text) if prefix else ((), encode_prompt(self.tokenizer, text))
            return [*before, *after]
        asked = [{"role": "user", "content": prefix}] if self.messages is None else list(self.messages(prefix))
        whole = [*asked, {"role": "assistant", "content": text.lstrip()}]
        written = self.tokenizer.apply_chat_template(whole, tokenize=False, add_generation_prompt=False)
        return encode_prompt(self.tokenizer, str(written), from_template=True)

    @torch.no_grad()
    def rewards(self, texts: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], float]:
        """The reward of each text, the longest first, so that those of a batch are alike in length."""
        order = sorted(texts, key=len, reverse=True)
        found: dict[tuple[int, ...], float] = {}
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            found.update(zip(batch, last_logits(self.model, batch).tolist(), strict=True))
        return found


def last_logits(model: Any, texts: Sequence[Sequence[int]]) -> Float[Tensor, " texts"]:
    """The head's output at the last token of each text, float32; transformers would look for it by the padding's id."""
    ids, mask = padded(texts, device=ids_device(model))
    hidden = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    last = torch.tensor([len(text) - 1 for text in texts], device=hidden.device)
    read = hidden[torch.arange(len(texts), device=hidden.device), last]
    head = model.score
    if type(head) is not nn.Linear or head.weight.is_meta:  # quantised, or on disk
        found: Tensor = head(read)
        return found.float()[:, 0]
    bias = None if head.bias is None else head.bias.float()
    return nn.functional.linear(read.to(head.weight.device).float(), head.weight.float(), bias)[:, 0]


def check_reward_model(model: PreTrainedModel) -> None:
    """The model gives a text one number, by a head on its last token.

    Raises:
        ValueError: If it does not.
    """
    if "score" not in dict(model.named_children()):
        raise ValueError(
            f"model is a {type(model).__name__}, without the classification head of a causal reward model; load it by "
            "AutoModelForSequenceClassification, and take CrossEncoderRanker for one that reads pairs (BERT, DeBERTa)"
        )
    if model.config.num_labels != 1:
        raise ValueError(f"model has {model.config.num_labels} labels; a reward is one number, num_labels=1")


def check_no_own_code(name: str, config: Any) -> None:
    """Refuse what transformers alone would load with another head than it was trained with.

    Raises:
        ValueError: With the reason.
    """
    kinds = " ".join([Path(name).name, *(config.architectures or [])]).lower()
    reason = next((why for known, why in OWN_CODE.items() if re.search(known, kinds)), None)
    own = [kind for kind in config.architectures or [] if not kind.endswith("ForSequenceClassification")]
    if reason is None and own:
        reason = f"it is a {', '.join(own)}, and its head is not that of sequence classification in transformers"
    if reason is not None:
        raise ValueError(
            f"{name} cannot be read without code of its own: {reason}. Take a plain reward model, such as "
            "Skywork/Skywork-Reward-V2-Qwen3-0.6B, or make yours a ranker (a subclass of counterpoint.rankers.Ranker)"
        )
