"""RankGen: its ranker, its encoder, and its checkpoints as published."""
