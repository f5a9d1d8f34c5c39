"""The models of ``counterpoint bench``'s metrics: each is loaded when a metric first asks, and reads a text once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from counterpoint.eval.embedded import EXPERT
from counterpoint.eval.journal import Journal, key_of
from counterpoint.eval.metrics.mauve_protocols import protocol_named

if TYPE_CHECKING:
    from counterpoint.eval.loading import Loaded
    from counterpoint.eval.metrics.coherence import Embed
    from counterpoint.eval.metrics.mauve import MauveResult
    from counterpoint.eval.metrics.mauve_features import LoadedFeaturizer

AT_ONCE = 32
"""Number of texts that are scored before their scores are written down."""


@dataclass
class MetricModels:
    """The models that metrics are given, with their settings.

    What imports transformers is imported where a model is asked for, since most metrics need none.

    Args:
        directory: Folder of the benchmark; ``likelihoods.jsonl`` in it keeps the scorer's results, so that no text is scored twice.
        scorer: A causal language model: id or path.
        embedder: A sentence encoder: id or path.
        mauve_protocol: One of :data:`~counterpoint.eval.metrics.mauve_protocols.PROTOCOLS`.
        featurizer: The model whose features MAUVE compares; the protocol's if None.
        device: As for :func:`~counterpoint.eval.loading.choose_device`.
        dtype: Type of the scorer's weights.
        trust_remote_code: Whether code that comes with the models may run.
    """

    directory: Path
    scorer: str = field(default_factory=lambda: str(EXPERT))
    embedder: str | None = None
    mauve_protocol: str = "counterpoint"
    featurizer: str | None = None
    device: str | None = None
    dtype: str = "auto"
    trust_remote_code: bool = False

    def name_of(self, setting: str) -> str:
        """A setting as results state it."""
        value = self.featurizer_name if setting == "featurizer" else str(getattr(self, setting))
        return "the embedded expert" if value == str(EXPERT) else value

    @cached_property
    def scoring_model(self) -> Loaded:
        """The scorer."""
        from counterpoint.eval.loading import load, quiet

        with quiet():
            return load(self.scorer, self.device, self.dtype, self.trust_remote_code)

    @cached_property
    def scoring_key(self) -> str:
        """A name for all that likelihoods depend on besides the texts."""
        from counterpoint.eval.revisions import revision

        model = self.scoring_model.model
        return key_of(revision(self.scorer), str(model.dtype), model.device.type, "tokenised together")

    @cached_property
    def embed(self) -> Embed:
        """The mean of the embedder's last states."""
        if self.embedder is None:
            raise ValueError("no sentence encoder was given (--embedder)")
        from transformers import AutoModel, AutoTokenizer

        from counterpoint.eval.loading import choose_device, quiet
        from counterpoint.eval.metrics.representations import mean_pooling
        from counterpoint.rankers.weight_files import refusals

        options: dict[str, Any] = {"trust_remote_code": self.trust_remote_code}
        with quiet(), refusals(f"embedder {self.embedder}"):
            model = AutoModel.from_pretrained(self.embedder, **options).to(choose_device(self.device)).eval()
            return mean_pooling(model, AutoTokenizer.from_pretrained(self.embedder, **options))

    @cached_property
    def featurizer_model(self) -> LoadedFeaturizer:
        """The model that reads texts for MAUVE."""
        from counterpoint.eval.metrics.mauve_features import load_featurizer

        return load_featurizer(self.featurizer_name, device=self.device, trust_remote_code=self.trust_remote_code)

    @property
    def featurizer_name(self) -> str:
        """Its name."""
        return self.featurizer or protocol_named(self.mauve_protocol).featurizer

    @cached_property
    def journal(self) -> Journal:
        """The likelihoods that are known already."""
        return Journal(self.directory / "likelihoods.jsonl")

    def likelihoods(self, prompts: Sequence[str], texts: Sequence[str]) -> list[tuple[float, int]]:
        """For every text the sum of its tokens' log-probabilities after its prompt, and their number."""
        from counterpoint.eval.loading import quiet
        from counterpoint.eval.metrics.likelihoods import log_probabilities

        pairs = list(zip(prompts, texts, strict=True))
        keys = [key_of(self.scoring_key, *pair) for pair in pairs]
        pending = {pair: key for pair, key in zip(pairs, keys, strict=True) if key not in self.journal}
        left = sorted(pending)  # what a prompt's texts have in common is read once
        for part in (left[begin : begin + AT_ONCE] for begin in range(0, len(left), AT_ONCE)):
            model, tokenizer = self.scoring_model.model, self.scoring_model.tokenizer
            with quiet():
                found = log_probabilities(model, tokenizer, [prompt for prompt, _ in part], [text for _, text in part])
            for pair, values in zip(part, found, strict=True):
                self.journal.add(pending[pair], {"sum": math.fsum(values), "tokens": len(values)})
        return [(self.journal[key]["sum"], self.journal[key]["tokens"]) for key in keys]

    def cosines(self, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
        """The cosine of every text's vector and its prompt's."""
        import torch

        from counterpoint.eval.loading import quiet
        from counterpoint.eval.metrics.coherence import embedding_coherence_of_each

        with quiet(), torch.no_grad():
            return embedding_coherence_of_each(self.embed, prompts, texts)

    def mauve(self, prompts: Sequence[str], texts: Sequence[str], references: Sequence[str | None]) -> MauveResult:
        """MAUVE of the texts that have a reference."""
        from counterpoint.eval.loading import quiet
        from counterpoint.eval.metrics.mauve import compute_mauve, mauve_score

        known = [
            (prompt, text, reference)
            for prompt, text, reference in zip(prompts, texts, references, strict=True)
            if reference is not None
        ]
        if not known:
            raise ValueError("there are no references to compare with")
        before, after, human = zip(*known, strict=True)
        with quiet():  # that there are too few texts is in the result
            compute_mauve()  # before the featuriser is loaded
            return mauve_score(before, after, human, protocol=self.mauve_protocol, featurizer=self.featurizer_model)


def check(names: Sequence[str], **options: Any) -> None:
    """Refuse models of metrics that cannot be loaded; no weights are read.

    Args:
        names: The metrics.
        **options: Fields of :class:`MetricModels`.

    Raises:
        ValueError: If one cannot be loaded.
        OSError: If there is none of that name.
        ImportError: If MAUVE is not installed, and asked for.
    """
    models = MetricModels(Path(), **options)
    if "coherence" in names or "scorer" in options:
        from counterpoint.eval.loading import load, quiet

        with quiet():
            load(models.scorer, "cpu", "auto", models.trust_remote_code, device_map="meta")
    if "mauve" in names:
        from counterpoint.eval.loading import quiet
        from counterpoint.eval.metrics.mauve import compute_mauve

        with quiet():
            compute_mauve()
    others = {"featurizer": models.featurizer_name if "mauve" in names or models.featurizer else None, "embedder": models.embedder}
    for name, model in others.items():
        if model is not None:
            from transformers import AutoConfig, AutoTokenizer

            from counterpoint.eval.loading import LONGEST, quiet

            try:
                with quiet():
                    AutoConfig.from_pretrained(model, trust_remote_code=models.trust_remote_code)
                    AutoTokenizer.from_pretrained(model, trust_remote_code=models.trust_remote_code)
            except (OSError, ValueError) as error:
                raise ValueError(f"{name}={model}: no model that can be loaded: {shorten(str(error), LONGEST)}") from error
