"""Judgements on runs: comparison, baseline, history and the claims of the paper."""
