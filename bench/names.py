"""Names of distances by extractor, and what may be compared with published figures.

FID is the Fréchet distance of Inception features resized as clean-fid does; its older resizings
have names of their own, as they differ by whole points. What other extractors give is not FID and
is called `fd_<extractor>`.

Extractors differ in the kind of what they give: `features` of an image, `spatial` ones for sFID,
and probabilities of `classes` for the inception score. A metric names the kinds that it takes.
"""

from __future__ import annotations

FRECHET = {
    "inception": "fid",
    "inception-legacy-pytorch": "fid_legacy_pytorch",
    "inception-legacy-tensorflow": "fid_legacy_tensorflow",
    "inception-spatial": "sfid",
}
KERNEL = {
    "inception": "kid",
    "inception-legacy-pytorch": "kid_legacy_pytorch",
    "inception-legacy-tensorflow": "kid_legacy_tensorflow",
}
KINDS = {"inception-spatial": "spatial", "inception-classes": "classes"}
# The dimensions of Inception features, below which their covariance is singular.
LEAST = 2048
PUBLISHED = 50_000


def frechet(extractor: str) -> str:
    """The name of the Fréchet distance of an extractor's features, without its N."""
    return FRECHET.get(extractor, f"fd_{extractor}")


def kernel(extractor: str) -> str:
    """The name of the kernel distance of an extractor's features, without its N."""
    return KERNEL.get(extractor, f"kd_{extractor}")


def kind(extractor: str) -> str:
    """What an extractor gives: features, spatial or classes."""
    return KINDS.get(extractor, "features")


def remarks(extractor: str, images: int) -> list[str]:
    """Why numbers of Inception features at this N do not compare with published ones."""
    if not extractor.startswith("inception"):
        return []
    name = frechet(extractor) if extractor in FRECHET else "is"
    if images < LEAST and kind(extractor) != "classes":
        return [
            f"{name}@{images}: below {LEAST:,} images the covariance is singular and the value "
            f"mostly bias: not comparable with published figures"
        ]
    if images < PUBLISHED:
        return [
            f"{name}@{images}: published figures take {PUBLISHED:,} images: not comparable with "
            f"published figures"
        ]
    return []
