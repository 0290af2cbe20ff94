"""Which metrics are measured with what an extractor gives, and which extractors are needed."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core import distances, extensions


def beside(
    extractor_name: str, extractors: Sequence[str], metrics: Sequence[str], is_compared: bool
) -> list[str]:
    """The metrics that are measured with what an extractor gives."""
    chosen = []
    for name in metrics:
        metric = extensions.lookup("metrics", name)
        # What looks at images alone is measured once, beside the first extractor.
        is_first = extractor_name == extractors[0]
        fits = distances.kind(extractor_name) in metric.kinds if metric.kinds else is_first
        if fits and not (metric.paired and not is_compared):
            chosen.append(name)
    return chosen


def extractors_of(
    extractors: Sequence[str], metrics: Sequence[str], is_compared: bool
) -> list[str]:
    """The extractors whose features metrics take."""
    return [
        extractor_name
        for extractor_name in extractors
        if any(
            extensions.lookup("metrics", name).kinds
            for name in beside(extractor_name, extractors, metrics, is_compared)
        )
    ]
