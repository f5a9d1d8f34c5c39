"""The rows of an engine's batch that have a decoder, and their scores: one forward of each negative a step, for all its rows.

The decoders are those of ``generate``. What they ask for beside the scores, a negative's logits and the text so far, is gathered
for all rows at once, and rows with equal settings are computed together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, overload

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

from counterpoint.decoders.amateurs.models import Amateur
from counterpoint.decoders.amateurs.vocabulary import aligned
from counterpoint.decoders.base import DistributionProcessor, SideOutputs
from counterpoint.decoders.forwards.exit_tap import ExitTap
from counterpoint.decoders.forwards.layer_tap import LayerTap
from counterpoint.decoders.forwards.ragged import padded
from counterpoint.decoders.forwards.text_states import TextStates
from counterpoint.eval.engines.vllm.decoders import decoder_of
from counterpoint.eval.engines.vllm.negatives import Negatives
from counterpoint.eval.engines.vllm.requests import Request, read_request


@dataclass(frozen=True)
class Text(Sequence[int]):
    """The tokens before the output and those of the output, which grows, without a copy of either."""

    before: Sequence[int]
    output: Sequence[int]

    @override
    def __len__(self) -> int:
        return len(self.before) + len(self.output)

    @override
    def __iter__(self) -> Iterator[int]:
        return chain(self.before, self.output)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    @override
    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        if index == -1 and self.output:
            return self.output[-1]
        return list(self)[index]


@dataclass(eq=False)
class Row:
    """A request in the batch."""

    request: Request
    prompt: Sequence[int]
    output: Sequence[int]
    """The tokens generated so far, which the engine appends to."""
    before: Sequence[int] = ()
    """What the negative reads before the output."""
    temperature: float = 1.0
    """What the engine divides by after the decoder; 1 for greedy search."""

    @classmethod
    def of(cls, params: Any, prompt: Sequence[int] | None, output: Sequence[int], negatives: Negatives) -> Row | None:
        """The row of a request with these sampling parameters; None where it has no decoder."""
        request = read_request(params.extra_args, negatives.settings)
        if request is None:
            return None
        if prompt is None:
            raise ValueError(
                f"decoder {request.spec.name} reads the prompt's tokens: start the server without --enable-prompt-embeds"
            )
        return cls(request, prompt, output, negatives.text_before(request, prompt), params.temperature or 1.0)


@dataclass(frozen=True)
class RowOutputs(SideOutputs):
    """What decoders may ask for, of these rows of the batch: a position each, after their texts."""

    rows: Sequence[Row]
    negative: Float[Tensor, "rows vocabulary"] | None
    device: torch.device

    @override
    def logits(self, amateur: Amateur) -> Float[Tensor, "rows vocabulary"]:
        if self.negative is None:
            raise ValueError(f"{type(amateur).__name__} is none of the models that the server was started with")
        return self.negative

    @override
    def text(self) -> tuple[Int[Tensor, "rows length"], Bool[Tensor, "rows length"]]:
        ids, mask = padded([list(Text(row.prompt, row.output)) for row in self.rows], side="left", device=self.device)
        return ids, mask.bool()

    @override
    def new_tokens(self, prompt_length: int | None = None) -> Int[Tensor, "rows"]:
        return torch.tensor([len(row.output) for row in self.rows], device=self.device)

    @override
    def states(self, tap: LayerTap) -> Float[Tensor, "layers rows hidden"]:
        raise ValueError("an engine gives a logits processor no hidden states")

    @override
    def exits(self, tap: ExitTap) -> Float[Tensor, "layers rows vocabulary"]:
        raise ValueError("an engine gives a logits processor no hidden states")

    @override
    def text_states(self, reader: TextStates) -> Float[Tensor, "rows length hidden"]:
        raise ValueError("an engine gives a logits processor no hidden states")


class ContrastRows:
    """The scores of all rows that have a decoder; the others stay as they are.

    Args:
        negatives: The models that the server was started with.
    """

    def __init__(self, negatives: Negatives) -> None:
        self.negatives = negatives
        self.decoders: dict[str, DistributionProcessor] = {}
        """By the decoder's name and values, and its model's name."""

    def scores(self, rows: Mapping[int, Row], logits: Float[Tensor, "batch vocabulary"]) -> Float[Tensor, "batch vocabulary"]:
        """The batch's logits with the decoders' scores in the place of these rows'.

        Args:
            rows: The rows that have a decoder, by their index in the batch. A row that is missing has ended.
            logits: The served model's. They are changed in place, as the engine's own processors do.
        """
        negative = self._negatives(rows.values())
        best = logits.amax(dim=-1)  # not finite where all tokens are banned, which an error here would not mend
        decided = [index for index, finite in zip(rows, best[list(rows)].isfinite().tolist(), strict=True) if finite]
        for indices in grouped(decided, lambda index: settings_of(rows[index].request)):
            own, places = [rows[index] for index in indices], torch.tensor(indices, device=logits.device)
            logits[places] = self._decoded(own, negative, logits[places])
        return logits

    def _decoded(
        self, rows: Sequence[Row], negative: Mapping[Row, Float[Tensor, " vocabulary"]], scores: Float[Tensor, "rows vocabulary"]
    ) -> Float[Tensor, "rows vocabulary"]:
        """The scores of rows with equal settings."""
        request = rows[0].request
        key = settings_of(request)
        if key not in self.decoders:
            self.decoders[key] = decoder_of(request, self.negatives)
        decoder = self.decoders[key]
        if request.spec.row.needs:
            amateur = self.negatives.amateurs[request.model].amateur
            known = torch.stack([negative[row] for row in rows]).to(scores.device)
            other = known_of_best(aligned(known, scores.shape[-1], amateur.known_tokens), scores)
            return decoder.process(RowOutputs(rows, other, scores.device), scores)
        outputs = RowOutputs(rows, None, scores.device)
        if not request.spec.row.sampling:
            return decoder.process(outputs, scores)
        # a sampler's set of tokens is that at the temperature, by which the engine divides later
        temperature = torch.tensor([[row.temperature] for row in rows], dtype=torch.float64, device=scores.device)
        return scores.masked_fill(decoder.process(outputs, scores.double() / temperature) == -torch.inf, -torch.inf)

    def _negatives(self, rows: Iterable[Row]) -> dict[Row, Float[Tensor, " vocabulary"]]:
        """Each row's negative logits, by one forward of every model that has rows; one that has none any more forgets them."""
        found: dict[Row, Tensor] = {}
        contrasted = [row for row in rows if row.request.spec.row.needs]
        for name, negative in self.negatives.amateurs.items():
            own = [row for row in contrasted if row.request.model == name]
            texts = {row: Text(row.before, row.output) for row in own}
            if any(len(text) and text[-1] < 0 for text in texts.values()):
                raise RuntimeError("the tokens of the last step are not known yet: start the server with --no-async-scheduling")
            found |= zip(own, negative.next_logits(texts), strict=True)
        return found


def known_of_best(
    negative: Float[Tensor, "rows vocabulary"], scores: Float[Tensor, "rows vocabulary"]
) -> Float[Tensor, "rows vocabulary"]:
    """The negative, uniform in rows whose likeliest token it excludes: these are the served model's own.

    Such a token is beyond those of the amateur's tokenizer, as where a request allows no other, and all plausible ones might be.

    Example:
        >>> known_of_best(torch.tensor([[-torch.inf, 1.0], [-torch.inf, 1.0]]), torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
        tensor([[0., 0.],
                [-inf, 1.]])
    """
    return negative.masked_fill(negative.gather(-1, scores.argmax(dim=-1, keepdim=True)) == -torch.inf, 0.0)


def settings_of(request: Request) -> str:
    """What requests have in common whose rows one decoder serves."""
    return f"{request.spec} {request.model}"


def grouped(keys: Iterable[int], of: Callable[[int], Any]) -> list[list[int]]:
    """The keys that have the same property together, in their order."""
    groups: dict[Any, list[int]] = {}
    for key in keys:
        groups.setdefault(of(key), []).append(key)
    return list(groups.values())
