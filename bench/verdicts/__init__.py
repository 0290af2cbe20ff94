"""What runs say: comparison, baseline, history and the claims of the paper."""
