"""Rankers, which choose among continuations of a text."""

from pathlib import Path

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
