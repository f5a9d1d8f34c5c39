from pathlib import Path

from counterpoint.rankers.base import CandidateScorer as CandidateScorer
from counterpoint.rankers.base import Ranker as Ranker
from counterpoint.rankers.base import Scores as Scores
from counterpoint.rankers.bert_score import BertScore as BertScore
from counterpoint.rankers.bi_encoder import BiEncoderRanker as BiEncoderRanker
from counterpoint.rankers.combination import CombinedRanker as CombinedRanker
from counterpoint.rankers.consensus import ConsensusRanker as ConsensusRanker
from counterpoint.rankers.judges.answers import normalised as normalised
from counterpoint.rankers.judges.certainty import ConfidenceRanker as ConfidenceRanker
from counterpoint.rankers.judges.certainty import SelfCertaintyRanker as SelfCertaintyRanker
from counterpoint.rankers.judges.confidence_stop import ConfidenceStop as ConfidenceStop
from counterpoint.rankers.judges.confident_vote import ConfidentVote as ConfidentVote
from counterpoint.rankers.judges.confident_vote import confident_vote as confident_vote
from counterpoint.rankers.judges.judge import JudgeRanker as JudgeRanker
from counterpoint.rankers.judges.measures import least_kept as least_kept
from counterpoint.rankers.judges.measures import self_certainty as self_certainty
from counterpoint.rankers.judges.measures import token_confidence as token_confidence
from counterpoint.rankers.judges.measures import trace_confidence as trace_confidence
from counterpoint.rankers.judges.process_reward import ProcessRewardRanker as ProcessRewardRanker
from counterpoint.rankers.judges.reward import RewardModelRanker as RewardModelRanker
from counterpoint.rankers.judges.steps import aggregated as aggregated
from counterpoint.rankers.judges.vote import VoteRanker as VoteRanker
from counterpoint.rankers.likelihood import LikelihoodRanker as LikelihoodRanker
from counterpoint.rankers.overlap import OverlapRanker as OverlapRanker
from counterpoint.rankers.rankgen.encoder import RankGenEncoder as RankGenEncoder
from counterpoint.rankers.rankgen.rankgen import RankGenRanker as RankGenRanker
from counterpoint.rankers.reranking import Reranked as Reranked
from counterpoint.rankers.reranking import rerank as rerank
from counterpoint.rankers.search.beams import Candidate as Candidate
from counterpoint.rankers.search.best_of import best_of as best_of
from counterpoint.rankers.search.ranked_search import RankedSearchOutput as RankedSearchOutput
from counterpoint.rankers.search.ranked_search import ranked_search as ranked_search
from counterpoint.rankers.sentence import CrossEncoderRanker as CrossEncoderRanker
from counterpoint.rankers.sentence import SentenceTransformerRanker as SentenceTransformerRanker
from counterpoint.rankers.utilities import AggregateUtility as AggregateUtility
from counterpoint.rankers.utilities import Bleu as Bleu
from counterpoint.rankers.utilities import ChrF as ChrF
from counterpoint.rankers.utilities import EmbeddingCosine as EmbeddingCosine
from counterpoint.rankers.utilities import NgramF1 as NgramF1

__version__: str
SMALL: Path
