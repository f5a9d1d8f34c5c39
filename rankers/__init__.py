"""Rankers, which choose among continuations of a text."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from counterpoint.rankers.base import CandidateScorer, Ranker, Scores
    from counterpoint.rankers.bi_encoder import BiEncoderRanker
    from counterpoint.rankers.combination import CombinedRanker
    from counterpoint.rankers.consensus import ConsensusRanker, embedding_cosine, ngram_f1
    from counterpoint.rankers.likelihood import LikelihoodRanker
    from counterpoint.rankers.overlap import OverlapRanker
    from counterpoint.rankers.rankgen.encoder import RankGenEncoder
    from counterpoint.rankers.rankgen.rankgen import RankGenRanker
    from counterpoint.rankers.reranking import Reranked, rerank
    from counterpoint.rankers.search.beams import Candidate
    from counterpoint.rankers.search.ranked_search import RankedSearchOutput, ranked_search
    from counterpoint.rankers.sentence import CrossEncoderRanker, SentenceTransformerRanker

__all__ = [
    "SMALL",
    "BiEncoderRanker",
    "Candidate",
    "CandidateScorer",
    "CombinedRanker",
    "ConsensusRanker",
    "CrossEncoderRanker",
    "LikelihoodRanker",
    "OverlapRanker",
    "RankGenEncoder",
    "RankGenRanker",
    "RankedSearchOutput",
    "Ranker",
    "Reranked",
    "Scores",
    "SentenceTransformerRanker",
    "embedding_cosine",
    "ngram_f1",
    "ranked_search",
    "rerank",
]

SMALL = Path(__file__).parent / "models" / "small"
"""Folder of the embedded ranker, a small RankGen that loads without a network; ``RankGenRanker.from_pretrained`` takes it."""

_MODULES = {
    "base": "CandidateScorer Ranker Scores",
    "bi_encoder": "BiEncoderRanker",
    "combination": "CombinedRanker",
    "consensus": "ConsensusRanker embedding_cosine ngram_f1",
    "likelihood": "LikelihoodRanker",
    "overlap": "OverlapRanker",
    "rankgen.encoder": "RankGenEncoder",
    "rankgen.rankgen": "RankGenRanker",
    "reranking": "Reranked rerank",
    "search.beams": "Candidate",
    "search.ranked_search": "RankedSearchOutput ranked_search",
    "sentence": "CrossEncoderRanker SentenceTransformerRanker",
}
"""Where the public names are: they are imported, with torch, when they are first asked for (PEP 562)."""


def __getattr__(name: str) -> object:
    """The public name, from its module."""
    for module, names in _MODULES.items():
        if name in names.split():
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
