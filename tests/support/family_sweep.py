"""Every method on one family, alone and left-padded, against references that compute whole texts anew without any cache.

References run on another object of the same weights, so that nothing a method leaves behind reaches them. What transformers itself
gives differently with and without a cache, or for a left-padded row, is told apart first: there is nothing to be right about.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel

import contrast_references
import counterpoint.decoders
import layer_references
from counterpoint.decoders import (
    ContextAwareLogitsProcessor,
    ContrastiveDecodingLogitsProcessor,
    ContrastiveSearchLogitsProcessor,
    DoLaLogitsProcessor,
    EncoderDecoderAmateur,
    LayerFusionLogitsProcessor,
    SLEDLogitsProcessor,
    contrastive_search,
    score,
    speculative_contrastive_decoding,
)
from every_family import BOS, FIRST_WORD, WORDS, build, out_of_reach

STEPS, TOP_K, PENALTY, ALPHA, BETA, FUSION = 5, 3, 0.6, 0.1, 0.5, 0.5
LENGTHS, OTHER_LENGTHS = (12, 7), (5, 3)
CLOSE = 2e-2
"""Largest difference of scores whose spread is about 2.5 that single precision explains, chain after chain of sums."""
BANNED = -900.0
"""Above what a token has that is left out: -inf, or SLED's -1000."""
LIBRARY = Path(str(counterpoint.decoders.__file__)).resolve().parent  # a strict editable install links every file


class Outcome(NamedTuple):
    """How a method fared on a family: right, refused, inconsistent, wrong or crash."""

    verdict: str
    why: str = ""


def words(length: int, seed: int) -> tuple[int, ...]:
    """A text of random words."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(FIRST_WORD, WORDS, (length,), generator=generator).tolist())


PROMPTS = [words(length, 10 + length) for length in LENGTHS]
OTHERS = [words(length, 20 + length) for length in OTHER_LENGTHS]
CONTINUATIONS = [[words(3, 31), (words(3, 31)[0], *words(2, 32))], [words(4, 33)]]


class Words(LogitsProcessor):
    """Nothing but words can follow: families do not agree on what an image token without an image is."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores, -inf for special tokens."""
        return words_alone(scores)


def words_alone(scores: Tensor) -> Tensor:
    """The scores ``[..., vocabulary]``, -inf for special tokens."""
    kept = torch.zeros(scores.shape[-1], dtype=torch.bool)
    kept[FIRST_WORD:WORDS] = True
    return torch.where(kept, scores, -torch.inf)


def encoder_batch(model: Any, texts: Sequence[tuple[int, ...]]) -> dict[str, Tensor]:
    """What an encoder takes: texts padded on the right, or for each text a picture or a sound of its own."""
    if model.main_input_name == "input_ids":
        width = max(map(len, texts))
        ids = torch.tensor([[*text, *[0] * (width - len(text))] for text in texts])
        mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts])
        return {"input_ids": ids, "attention_mask": mask}
    shape = PERCEIVED[model.config.model_type](model.config)
    rows = [torch.rand(shape, generator=torch.Generator().manual_seed(sum(text))) for text in texts]
    return {model.main_input_name: torch.stack(rows)}


PERCEIVED: dict[str, Callable[[Any], tuple[int, ...]]] = {
    "whisper": lambda config: (config.num_mel_bins, 2 * config.max_source_positions),
    "speech_to_text": lambda config: (32, config.input_feat_per_channel * config.input_channels),
    **dict.fromkeys(("moonshine", "moonshine_streaming", "speech-encoder-decoder", "speecht5"), lambda config: (4000,)),
    **dict.fromkeys(("seamless_m4t", "seamless_m4t_v2"), lambda config: (32, config.feature_projection_input_dim)),
    **dict.fromkeys(("canary", "cohere_asr"), lambda config: (64, config.encoder_config.num_mel_bins)),
    "vision-encoder-decoder": lambda config: (3, config.encoder.image_size, config.encoder.image_size),
    "pp_formulanet": lambda config: (3, config.vision_config.image_size, config.vision_config.image_size),
    "pix2struct": lambda config: (16, 2 + config.vision_config.patch_embed_hidden_size),
}
"""The shape of the picture or the sound that a model is given for one text."""


class Reading(NamedTuple):
    """A whole text read at once: logits and what enters the unembedding, position by position."""

    logits: Tensor
    unembedded: Tensor | None
    states: Sequence[Tensor]


HEADS = {"electra": "generator_predictions", "modernbert-decoder": "lm_head"}
"""What a family's head begins with, where that is a module beside the one that has its largest matrix."""


class Plain:
    """A model read without any cache: ``source`` is the encoder's text, () for a decoder alone."""

    def __init__(self, name: str, seed: int = 0) -> None:
        self.model: Any = build(name, seed)
        self.known: dict[Any, Any] = {}

    def inputs(self, source: tuple[int, ...], texts: Sequence[tuple[int, ...]]) -> dict[str, Any]:
        """The arguments of a forward of several texts of one length."""
        ids = torch.tensor(texts)
        if not source and "position_ids" in signature(self.model.forward).parameters:  # as ``generate`` numbers them
            return {"input_ids": ids, "position_ids": torch.arange(ids.shape[1]).repeat(len(ids), 1)}
        if not source:
            return {"input_ids": ids}
        heard = encoder_batch(self.model, [source])
        return {name: given.expand(len(texts), *given.shape[1:]) for name, given in heard.items()} | {"decoder_input_ids": ids}

    def read(self, source: tuple[int, ...], texts: Sequence[tuple[int, ...]], exit_at: int | None = None) -> Reading:
        """The texts; with ``exit_at``, what the model would say if it ended before that layer."""
        key = (source, tuple(texts), exit_at)
        if key not in self.known:
            self.known[key] = self._read(source, texts, exit_at)
        found: Reading = self.known[key]
        return found

    @torch.no_grad()
    def _read(self, source: tuple[int, ...], texts: Sequence[tuple[int, ...]], exit_at: int | None) -> Reading:
        seen: list[Tensor] = []
        early = None if exit_at is None else self.read(source, texts).states[exit_at]
        handles = []
        head = self.model.get_output_embeddings()
        if isinstance(head, torch.nn.Module):
            handles.append(head.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].clone())))
        if early is not None:
            handles.append(self.head().register_forward_pre_hook(lambda module, arguments: (early, *arguments[1:])))
        try:
            output = self.model(**self.inputs(source, texts), use_cache=False, output_hidden_states=True)
        finally:
            for handle in handles:
                handle.remove()
        states = output.get("decoder_hidden_states") or output.get("hidden_states") or ()
        if self.model.config.get_text_config().model_type in (
            "mamba",
            "mamba2",
            "falcon_mamba",
            "rwkv",
        ):  # lists what leaves a layer
            states = (self.model.get_input_embeddings()(torch.tensor(texts)), *states)
        return Reading(output.logits.float(), seen[0].float() if seen else None, states)

    def head(self) -> Any:
        """The part of the model that makes logits of states: its largest matrix, with what else lies around it in the same part."""
        matrix = self.model.get_output_embeddings()
        path: str = next(name for name, module in self.model.named_modules() if module is matrix)
        while "." in path and not isinstance(self.model.get_submodule(path.rpartition(".")[0]), PreTrainedModel):
            path = path.rpartition(".")[0]
        return self.model.get_submodule(HEADS.get(self.model.config.model_type, path))

    def logits(self, source: tuple[int, ...], begin: tuple[int, ...], new: tuple[int, ...], exit_at: int | None = None) -> Tensor:
        """Logits ``[len(new), vocabulary]`` from which each of the tokens ``new`` is predicted."""
        return self.read(source, [(*begin, *new[:-1])], exit_at).logits[0, len(begin) - 1 :]


class Subject:
    """One family: the model under test, its amateur, and the references of both."""

    def __init__(self, name: str, seed: int = 0) -> None:
        self.model: Any = build(name, seed)
        self.rival: Any = build(name, seed + 1)
        self.own, self.other = Plain(name, seed), Plain(name, seed + 1)
        self.encodes = bool(self.model.config.is_encoder_decoder)

    def batch(self, rows: Sequence[int], texts: Sequence[tuple[int, ...]] = PROMPTS) -> dict[str, Tensor]:
        """These rows, padded as the family is used to."""
        if self.encodes:
            return encoder_batch(self.model, [texts[row] for row in rows])
        width = max(len(texts[row]) for row in rows)
        ids, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.long)
        for at, row in enumerate(rows):
            length = len(texts[row])
            ids[at, width - length :], mask[at, width - length :] = torch.tensor(texts[row]), 1
        return {"input_ids": ids, "attention_mask": mask}

    def generate(self, rows: Sequence[int], processors: Sequence[Any] = (), **mode: Any) -> Any:
        """``generate`` of these rows."""
        return self.model.generate(
            **self.batch(rows),
            **dict(
                max_new_tokens=STEPS, do_sample=False, eos_token_id=None, pad_token_id=0, output_scores=True, output_logits=True
            ),
            return_dict_in_generate=True,
            logits_processor=[Words(), *processors],
            **mode,
        )

    def texts(self, output: Any, rows: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
        """Of each row the encoder's text, the beginning of the decoder's, and the new tokens."""
        new = [tuple(ids) for ids in output.sequences[:, -STEPS:].tolist()]
        if self.encodes:
            begin = tuple(output.sequences[0, :-STEPS].tolist())
            return [(PROMPTS[row], begin, tokens) for row, tokens in zip(rows, new, strict=True)]
        return [((), PROMPTS[row], tokens) for row, tokens in zip(rows, new, strict=True)]

    def another(self, row: int) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
        """The other prompt of a row as the encoder's text and the decoder's beginning (None: as it is)."""
        return (OTHERS[row], None) if self.encodes else ((), OTHERS[row])


Reference = Callable[[Subject, int, tuple[int, ...], tuple[int, ...], tuple[int, ...]], Tensor]
"""Scores ``[steps, vocabulary]`` of a row: its number, the encoder's text, the decoder's beginning, the new tokens."""


def log_ratio(subject: Subject, row: int, source: tuple[int, ...], begin: tuple[int, ...], new: tuple[int, ...]) -> Tensor:
    """Contrastive decoding."""
    positive = words_alone(subject.own.logits(source, begin, new))
    negative = subject.other.logits(source, begin, new)
    return each(partial(contrast_references.contrast, form=contrast_references.ratio(), alpha=ALPHA), positive, negative)


def context_aware(subject: Subject, row: int, source: tuple[int, ...], begin: tuple[int, ...], new: tuple[int, ...]) -> Tensor:
    """Context-aware decoding."""
    other_source, other_begin = subject.another(row)
    positive = words_alone(subject.own.logits(source, begin, new))
    negative = subject.own.logits(other_source, other_begin or begin, new)
    return each(partial(contrast_references.contrast, form=contrast_references.power(BETA), alpha=0.0), positive, negative)


def dola(subject: Subject, row: int, source: tuple[int, ...], begin: tuple[int, ...], new: tuple[int, ...]) -> Tensor:
    """DoLa among the layers 0 and 1; NaN where both are equally far, up to rounding."""
    early = torch.stack([subject.own.logits(source, begin, new, layer) for layer in (0, 1)], dim=1)

    def clear(scores: Tensor, early: Tensor) -> Tensor:
        given = layer_references.log_p(scores)
        near, far = sorted(layer_references.released_divergence(given, layer_references.log_p(logits, scores)) for logits in early)
        return layer_references.dola(scores, early) if near < 0.99 * far else torch.full_like(scores, torch.nan)

    return each(clear, words_alone(subject.own.logits(source, begin, new)), early)


def sled(subject: Subject, row: int, source: tuple[int, ...], begin: tuple[int, ...], new: tuple[int, ...]) -> Tensor:
    """SLED by the layers 0 and 1."""
    final = subject.own.logits(source, begin, new)
    early = torch.stack([subject.own.logits(source, begin, new, layer) for layer in (0, 1)], dim=1)
    return each(layer_references.sled, words_alone(final), final, early)


def fusion(subject: Subject, row: int, source: tuple[int, ...], begin: tuple[int, ...], new: tuple[int, ...]) -> Tensor:
    """Layer fusion at layer 1."""
    given = [words_alone(subject.own.logits(source, begin, new)), subject.other.logits(source, begin, new)]
    given += [side.logits(source, begin, new, 1) for side in (subject.own, subject.other)]

    def fused(scores: Tensor, negative: Tensor, original: Tensor, amateur: Tensor) -> Tensor:
        return layer_references.fused(scores, negative, [layer_references.Pair(original, amateur)], [FUSION], alpha=ALPHA)

    return each(fused, *given)


def each(score: Callable[..., Tensor], *given: Tensor) -> Tensor:
    """Scores of all positions, one by one."""
    return torch.stack([score(*parts) for parts in zip(*given, strict=True)])


def compare_scores(reference: Reference, subject: Subject, output: Any, rows: Sequence[int]) -> str:
    """What differs between the scores of ``generate`` and the reference's on the very texts that it wrote; "" if nothing."""
    for at, (row, text) in enumerate(zip(rows, subject.texts(output, rows), strict=True)):
        found = torch.stack(output.scores)[:, at].double()
        expected = reference(subject, row, *text).double()
        found, expected = (scores[~expected.isnan().any(dim=-1)] for scores in (found, expected))
        if not len(found):  # the released divergence is NaN at every step of this text; the other text has others
            continue
        both = (found > BANNED) & (expected > BANNED)
        off = float((found - expected)[both].abs().max())
        if not off < CLOSE * max(1.0, float(expected[both].abs().median())):
            return f"row {row} of {len(rows)}: scores are off by {off:.2g}"
        if int(((found > BANNED) != (expected > BANNED)).sum()) > 2:  # two may be so near that they change places at the edge
            return f"row {row} of {len(rows)}: other tokens are plausible"
    return ""


def compare_search(subject: Subject, output: Any, rows: Sequence[int]) -> str:
    """What differs from contrastive search, step by step, given the tokens before; "" if nothing."""
    for row, (source, begin, new) in zip(rows, subject.texts(output, rows), strict=True):
        whole = subject.own.read(source, [(*begin, *new[:-1])])
        for step in range(STEPS):
            before, length = (*begin, *new[:step]), len(begin) + step
            p = words_alone(whole.logits[0, length - 1]).softmax(dim=-1)
            candidates = p.topk(TOP_K).indices.tolist()
            last = subject.own.read(source, [(*before, token) for token in candidates]).unembedded
            if last is None or whole.unembedded is None:
                return "the head is not called"
            cosine = torch.cosine_similarity(last[:, None, -1], whole.unembedded[:, :length], dim=-1).max(dim=-1).values
            scores = (1 - PENALTY) * p[candidates] - PENALTY * cosine
            taken = scores[candidates.index(new[step])] if new[step] in candidates else -torch.inf
            if not float(taken) > float(scores.max()) - 1e-3:
                return f"row {row} of {len(rows)}: token {step} is {float(scores.max() - taken):.2g} worse than the best"
    return ""


def compare_choice(reference: Reference, subject: Subject, output: Any, rows: Sequence[int]) -> str:
    """Whether each token is the best by the reference; "" if it is."""
    for row, text in zip(rows, subject.texts(output, rows), strict=True):
        scores = reference(subject, row, *text)
        lost = scores.max(dim=-1).values - scores[torch.arange(STEPS), list(text[-1])]
        if not float(lost.max()) < CLOSE:
            return f"row {row}: a token is {float(lost.max()):.2g} worse than the best"
    return ""


def compare_totals(decoder: Any, reference: Reference, subject: Subject) -> str:
    """What differs between ``score`` and the reference; "" if nothing."""
    scored = score(subject.model, None, PROMPTS, CONTINUATIONS, decoder)
    for row, (prompt, texts) in enumerate(zip(PROMPTS, CONTINUATIONS, strict=True)):
        for tokens, found in zip(texts, scored[row], strict=True):
            source, begin = (prompt, (start_of(subject),)) if subject.encodes else ((), prompt)
            values = reference(subject, row, source, begin, tokens).log_softmax(dim=-1)
            expected = float(values[torch.arange(len(tokens)), list(tokens)].sum())
            if not (abs(found.total - expected) < CLOSE * len(tokens) or found.total == expected):
                return f"the total is {found.total:.4f}, not {expected:.4f}"
    return ""


def start_of(subject: Subject) -> int:
    """The decoder's first token."""
    for config in (subject.model.generation_config, subject.model.config):
        for name in ("decoder_start_token_id", "bos_token_id"):
            if isinstance(token := getattr(config, name, None), int):
                return token
    return BOS


def amateur_of(subject: Subject, rows: Sequence[int]) -> Any:
    """The other model, with the same text in its encoder if it has one."""
    return EncoderDecoderAmateur(subject.rival, subject.batch(rows)) if subject.encodes else subject.rival


def run_search(subject: Subject, rows: Sequence[int]) -> str:
    mode = dict(custom_generate=contrastive_search, penalty_alpha=PENALTY, top_k=TOP_K)
    return compare_search(subject, subject.generate(rows, **mode), rows)


def run_search_processor(subject: Subject, rows: Sequence[int]) -> str:
    processor = ContrastiveSearchLogitsProcessor(subject.model, penalty_alpha=PENALTY, top_k=TOP_K)
    return compare_search(subject, subject.generate(rows, [processor]), rows)


def run_speculative(subject: Subject, rows: Sequence[int]) -> str:
    """One text at a time is what it takes: row 1 alone, and in the place of a batch row 0."""
    for row in rows[:1]:
        mode = dict(custom_generate=speculative_contrastive_decoding, amateur=subject.rival, alpha=ALPHA)
        if problem := compare_choice(log_ratio, subject, subject.generate([row], **mode), [row]):
            return problem
    return ""


def run_contrastive_decoding(subject: Subject, rows: Sequence[int]) -> str:
    processor = ContrastiveDecodingLogitsProcessor(amateur_of(subject, rows), alpha=ALPHA)
    return compare_scores(log_ratio, subject, subject.generate(rows, [processor]), rows)


def run_context_aware(subject: Subject, rows: Sequence[int]) -> str:
    processor = ContextAwareLogitsProcessor(subject.model, subject.batch(rows, OTHERS), beta=BETA)
    return compare_scores(context_aware, subject, subject.generate(rows, [processor]), rows)


def run_dola(subject: Subject, rows: Sequence[int]) -> str:
    chosen = {name: DoLaLogitsProcessor(subject.model, layers=name).layers for name in ("low", "high")}
    depth = subject.model.config.get_text_config(decoder=True).num_hidden_layers
    plain = subject.own.model
    tied = plain.get_input_embeddings().weight.data_ptr() == plain.get_output_embeddings().weight.data_ptr()
    start = min(2, depth - 1) if tied else 0
    right = {"low": tuple(range(start, depth // 2, 2)) or (start,), "high": tuple(range(depth // 2, depth, 2))}
    if chosen != right:
        return f"layers are {chosen}, not {right}"
    processor = DoLaLogitsProcessor(subject.model, layers=[0, 1], alpha=ALPHA)
    return compare_scores(dola, subject, subject.generate(rows, [processor]), rows)


def run_sled(subject: Subject, rows: Sequence[int]) -> str:
    processor = SLEDLogitsProcessor(subject.model, layers=[0, 1])
    return compare_scores(sled, subject, subject.generate(rows, [processor]), rows)


def run_fusion(subject: Subject, rows: Sequence[int]) -> str:
    processor = LayerFusionLogitsProcessor(subject.model, subject.rival, layers=[1], fusion_weight=FUSION, alpha=ALPHA)
    return compare_scores(fusion, subject, subject.generate(rows, [processor]), rows)


def run_score(subject: Subject, rows: Sequence[int]) -> str:
    """The model itself, and a contrast; rows are scored together and so are those alone."""
    if problem := compare_totals(None, lambda subject, row, *text: subject.own.logits(*text), subject):
        return problem
    if subject.encodes:
        return ""
    contrast = [Words(), ContrastiveDecodingLogitsProcessor(subject.rival, alpha=0.0)]

    def reference(subject: Subject, row: int, *text: tuple[int, ...]) -> Tensor:
        positive, negative = words_alone(subject.own.logits(*text)), subject.other.logits(*text)
        return each(partial(contrast_references.contrast, form=contrast_references.ratio(), alpha=0.0), positive, negative)

    return compare_totals(contrast, reference, subject)


METHODS: dict[str, Callable[[Subject, Sequence[int]], str]] = {
    "contrastive search": run_search,
    "its processor": run_search_processor,
    "speculative": run_speculative,
    "contrastive decoding": run_contrastive_decoding,
    "context-aware": run_context_aware,
    "DoLa": run_dola,
    "SLED": run_sled,
    "layer fusion": run_fusion,
    "score": run_score,
}


def inconsistency(subject: Subject) -> str:
    """What transformers itself gives differently: "cache", "padding" or ""; raises what its own ``generate`` raises."""

    def off(output: Any, rows: Sequence[int]) -> float:
        found = torch.stack(output.logits).float()
        rest = [subject.own.logits(*text) for text in subject.texts(output, rows)]
        return float((found - torch.stack(rest, dim=1)).abs().nan_to_num(torch.inf).max())

    if not max(off(subject.generate([1]), [1]), off(subject.generate([1], use_cache=False), [1])) < CLOSE:
        return "cache"
    return "" if off(subject.generate([0, 1]), [0, 1]) < CLOSE else "padding"


def judge(subject: Subject, method: str, inconsistent: str) -> Outcome:
    """How one method fares."""
    verdicts = []
    for rows in ([1], [0, 1]):
        try:
            problem = METHODS[method](subject, rows)
        except Exception as error:
            innermost = Path(traceback.extract_tb(error.__traceback__)[-1].filename).resolve()
            named = isinstance(error, ValueError) and innermost.is_relative_to(LIBRARY)
            verdicts.append(Outcome("refused" if named else "crash", f"{type(error).__name__}: {error}".replace("\n", " ")[:200]))
        else:
            unclear = inconsistent == "cache" or (inconsistent == "padding" and len(rows) > 1)
            verdicts.append(Outcome("inconsistent" if unclear else "wrong" if problem else "right", problem))
    order = ["crash", "wrong", "refused", "right", "inconsistent"]
    return min(verdicts, key=lambda outcome: order.index(outcome.verdict))


def sweep(name: str, methods: Sequence[str] = tuple(METHODS)) -> dict[str, Outcome]:
    """The outcome of each method on a family, and under "transformers" what is inconsistent there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if (reason := out_of_reach(name)) is not None:
            return {"transformers": Outcome("crash", reason)}
        subject = Subject(name)
        inconsistent = inconsistency(subject)
        found = {"transformers": Outcome("inconsistent" if inconsistent else "right", inconsistent)}
        return found | {method: judge(subject, method, inconsistent) for method in methods}
