"""DeepConf online: a text of which the model becomes unsure is ended while it is written."""

from __future__ import annotations

import math
import weakref
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import LogitsProcessor, StoppingCriteria
from typing_extensions import override

from counterpoint.decoders.hf.generate_call import current_call, current_generate_call
from counterpoint.rankers.judges.measures import token_confidence


class ConfidenceStop(StoppingCriteria):
    """Ends each text by itself once the confidence of its last W tokens is below a threshold: the online form of DeepConf.

        mean of C_{i-W+1}, ..., C_i < least,    C_i = -1/k * sum of the k largest ln p(v | x, y_<i)

    Fu et al., *Deep Think with Confidence* (2025, arXiv 2508.15260), who write 16 texts first, take the
    :func:`~counterpoint.rankers.least_kept` of their lowest confidences for ``least``, and then the other 240 of 256. Nothing ends
    before it has W tokens. C is of the model's logits as processors leave them that stand before the ``recorder``, before
    temperature, top-k and the like.

    A text is ended as it is, where the released code forces an end-of-text token that makes it look finished; ``ended`` says which
    these were, so that they get no vote, and ``lowest`` has the confidence of each. :func:`~counterpoint.rankers.confident_vote` is
    all of it: warm-up, the rest, and the vote.

    Args:
        least: The threshold; -inf ends nothing.
        window: W; 2048 as released.
        top: k; 20 as released.

    Raises:
        ValueError: For ``window`` or ``top`` below 1 and a ``least`` that is NaN; from ``generate``, for beams, an assistant and
            searches whose rows come and go, and without ``recorder`` among the logits processors.

    Example:
        >>> import math
        >>> from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
        >>> from counterpoint.rankers import SMALL, ConfidenceStop, least_kept
        >>> tokenizer = AutoTokenizer.from_pretrained(SMALL)
        >>> sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
        >>> ends = dict(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes, **ends))  # in its place any language model
        >>> sample = dict(**tokenizer("1 + 1 =", return_tensors="pt"), do_sample=True, max_new_tokens=8)
        >>> stop = ConfidenceStop(-math.inf, window=4)  # ends nothing
        >>> read = dict(logits_processor=[stop.recorder], stopping_criteria=[stop])
        >>> warm_up = model.generate(**sample, **read, num_return_sequences=4)
        >>> stop = ConfidenceStop(least_kept(stop.lowest.tolist(), keep=0.5), window=4)
        >>> rest = model.generate(
        ...     **sample, num_return_sequences=6, logits_processor=[stop.recorder], stopping_criteria=[stop]
        ... )
        >>> finished = rest[~stop.ended]  # these and the best of the warm-up vote
    """

    def __init__(self, least: float, *, window: int = 2048, top: int = 20) -> None:
        for name, value in (("window", window), ("top", top)):
            if value < 1:
                raise ValueError(f"{name}={value}: a number of tokens, 1 or more")
        if math.isnan(least):
            raise ValueError("least=nan: pass least_kept() of the scores of finite texts, or a number")
        self.least, self.window, self.top = least, window, top
        self.recorder = ConfidenceRecorder(self)
        """Goes into ``logits_processor``; it changes nothing."""
        self.traces: list[tuple[weakref.ref[Any], Traces]] = []

    def __repr__(self) -> str:
        return f"ConfidenceStop({self.least}, window={self.window}, top={self.top})"

    @property
    def ended(self) -> Bool[Tensor, "rows"]:
        """Which rows of the last ``generate`` were ended, and not by an end of text, their length or anything else."""
        return self.last_traces("ended").ended

    @property
    def lowest(self) -> Float[Tensor, "rows"]:
        """The least mean of a window of each row of the last ``generate``, as ``ConfidenceRanker`` scores it, without kept logits.

        A text without tokens has -inf.
        """
        return self.last_traces("lowest").lowest

    def last_traces(self, name: str) -> Traces:
        """What was recorded in the last ``generate``."""
        if not self.traces:
            raise ValueError(f"{name}: nothing has been generated yet")
        return self.traces[-1][1]

    def traces_of_call(self, input_ids: Int[Tensor, "rows length"], *, new: bool) -> Traces:
        """What was recorded in the ``generate`` in progress."""
        call = current_call()
        found = next((traces for known, traces in self.traces if known() is call), None)
        if found is None and (call is None or not new):
            raise ValueError("ConfidenceStop reads nothing: pass logits_processor=[stop.recorder] with stopping_criteria=[stop]")
        if found is None:
            check_rows()
            self.traces = [(known, traces) for known, traces in self.traces if known() is not None]
            found = Traces(input_ids, self.window)
            self.traces.append((weakref.ref(call), found))
        if found.sums.shape != input_ids.shape[:1]:
            raise ValueError("ConfidenceStop follows rows that stay; choose among what generate() returned, by rerank()")
        return found

    @override
    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        traces = self.traces_of_call(input_ids, new=False)
        ends: Any = current_call()
        return traces.end(input_ids[:, -1], self.least, [ends.eos_token_id, ends.pad_token_id])


class ConfidenceRecorder(LogitsProcessor):
    """Hands a :class:`ConfidenceStop` the confidence of every row's next token; the scores stay as they are."""

    def __init__(self, stop: ConfidenceStop) -> None:
        self.stop = stop

    @override
    def __call__(self, input_ids: Any, scores: Any) -> Any:
        traces = self.stop.traces_of_call(input_ids, new=True)
        traces.add(token_confidence(scores, top=self.stop.top))
        return scores


class Traces:
    """The confidence of the last ``window`` tokens of every row."""

    def __init__(self, input_ids: Int[Tensor, "rows length"], window: int) -> None:
        self.window, self.count = window, 0
        self.last: list[Float[Tensor, "rows"]] = []
        self.lowest = torch.full((len(input_ids),), -math.inf, dtype=torch.float64, device=input_ids.device)
        self.sums = torch.zeros(len(input_ids), dtype=torch.float64, device=input_ids.device)
        self.over, self.ended = (torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device) for _ in range(2))

    def add(self, confidence: Float[Tensor, "rows"]) -> None:
        """One more token of every row."""
        self.last.append(confidence.double().to(self.sums.device))
        self.sums, self.count = self.sums + self.last[-1], self.count + 1
        if len(self.last) > self.window:
            self.sums = self.sums - self.last.pop(0)

    def end(self, tokens: Int[Tensor, "rows"], least: float, ends: list[Any]) -> Bool[Tensor, "rows"]:
        """Which rows are ended now or before; those that ended otherwise are not."""
        known = [token for each in ends for token in (each if isinstance(each, list) else [each]) if token is not None]
        self.over = self.over | torch.isin(tokens, torch.tensor(known, dtype=tokens.dtype, device=tokens.device))
        mean = self.sums / len(self.last)
        lowest = self.lowest.minimum(mean) if self.count > self.window else mean  # before that there is one window
        self.lowest = torch.where(self.over, self.lowest, lowest)
        if len(self.last) == self.window:
            unsure = mean < least
            self.ended = self.ended | (unsure & ~self.over)
        return self.ended


def check_rows() -> None:
    """Rows stay the same texts throughout a call.

    Raises:
        ValueError: If they do not.
    """
    call = current_generate_call()
    if call is None:
        return
    for name, value in (("num_beams", call.num_beams if call.num_beams > 1 else None), ("assistant_model", call.assistant_model)):
        if value is not None:
            raise ValueError(f"{name}={value!r}: ConfidenceStop follows each row's own tokens; sample without it")
    if call.origins is not None:
        raise ValueError("ConfidenceStop follows rows that stay; choose among what generate() returned, by rerank()")
