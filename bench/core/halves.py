"""Layers that run in two halves: how kernels name them, and what is said of them.

A CPU without VNNI sums pairs of 8-bit products in 16 bits and saturates
(`bench.quant.kernels.onednn`), so 8-bit weights and activations take two passes to be exact.
"""

# What the name of a kernel ends with that takes two passes.
IN_HALVES = "in two halves"
ONE_PASS = (
    "This CPU sums pairs of 8-bit products in 16 bits, so layers at W8A8 run in two halves, which "
    "are exact and take two passes. W7A8, the reduced range of 7-bit weights that other runtimes "
    "take on such a CPU, is exact in one pass, but for the first and the last convolution, which "
    "stay at W8A8: --scheme w7a8."
)
