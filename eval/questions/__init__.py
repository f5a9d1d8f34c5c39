"""Questions with known answers: TruthfulQA, FACTOR and lm-evaluation-harness."""
