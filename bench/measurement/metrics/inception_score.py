"""Inception score (Salimans et al. 2016): exp of the mean over images of KL(p(y|x) || p(y)).

The images are taken in splits of SPLIT, as OpenAI's evaluator of ADM does (ten at 50,000 images),
and the score is the mean over the splits. With KL_i of image i against the mean of its split, the
influence of an image on the score of its split is IS (KL_i - mean KL): the change of p(y) itself
cancels to first order, as sum_y p(y) d log p(y) = 0.
"""

from __future__ import annotations

import numpy as np

from bench.core.estimates import interval
from bench.core.protocols import Evidence
from bench.core.record import Measurement

SPLIT = 5000
FLOOR = 1e-16


def score(p: np.ndarray) -> tuple[float, np.ndarray]:
    """The score of one split and each image's influence on it.

    Args:
        p: probabilities (N, classes), rows of sum 1.

    Returns:
        (score, influences (N,) of mean 0).
    """
    p = np.asarray(p, np.float64)
    logs = np.log(np.maximum(p, FLOOR)) - np.log(np.maximum(p.mean(0), FLOOR))
    divergence = (p * logs).sum(1)
    value = float(np.exp(divergence.mean()))
    return value, value * (divergence - divergence.mean())


class InceptionScore:
    """`is@N`, of probabilities of classes."""

    better = "higher"
    version = 1
    least = 2
    paired = False
    kinds = ("classes",)
    needs = ""

    def __call__(self, evidence: Evidence) -> Measurement:
        """Measure, with the 95% interval over the draw of the images."""
        return self.measure(evidence)[0]

    def measure(self, evidence: Evidence) -> tuple[Measurement, np.ndarray]:
        """Measure; also the influence of each image, (N,)."""
        values = evidence.features.values
        n = len(values)
        parts = [score(values[start : start + SPLIT]) for start in range(0, n, SPLIT)]
        value = float(np.mean([part for part, _ in parts]))
        # A split of m images moves the mean of s splits by 1/s, its images the split by 1/m.
        terms = np.concatenate([t * n / (len(t) * len(parts)) for _, t in parts])
        measured = Measurement(
            f"is@{n}", value, *interval(value, terms), n, "", self.better, self.version
        )
        return measured, terms
