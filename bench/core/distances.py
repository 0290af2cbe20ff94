"""Names of distances by extractor, and what may be compared with published figures.

FID is the Fréchet distance of Inception features resized as clean-fid does; its older resizings
have names of their own, as they differ by whole points. What other extractors give is not FID and
is called `fd_<extractor>`.

Extractors differ in the kind of what they give: `features` of an image, `spatial` ones for sFID,
probabilities of `classes` for the inception score, and unit `embeddings` for CMMD. A metric names
the kinds that it takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
    "clip": "cmmd",
}
KINDS = {"inception-spatial": "spatial", "inception-classes": "classes", "clip": "embeddings"}
# Of columns and axes; the full name stands with every N in the legends and in run.json.
FRECHET_TITLES = {
    "inception": "FID",
    "inception-legacy-pytorch": "FID (legacy PyTorch)",
    "inception-legacy-tensorflow": "FID (legacy TensorFlow)",
    "inception-spatial": "sFID",
    "dinov2": "FD-DINOv2",
}
KERNEL_TITLES = {
    "inception": "KID",
    "inception-legacy-pytorch": "KID (legacy PyTorch)",
    "inception-legacy-tensorflow": "KID (legacy TensorFlow)",
    "dinov2": "KD-DINOv2",
    "clip": "CMMD",
}
INCEPTION_SCORE = ("is", "inception-classes")
# The dimensions of Inception features, below which their covariance is singular.
LEAST = 2048
PUBLISHED = 50_000
# Below it a distance to real images says next to nothing, whatever is held against them.
LEAST_REAL = 100


def frechet(extractor: str) -> str:
    """The name of the Fréchet distance of an extractor's features, without its N."""
    return FRECHET.get(extractor, f"fd_{extractor}")


def kernel(extractor: str) -> str:
    """The name of the kernel distance of an extractor's features, without its N."""
    return KERNEL.get(extractor, f"kd_{extractor}")


def frechet_title(extractors: Iterable[str]) -> str:
    """What a table or figure calls the Fréchet distance of its rows: FID, FD-DINOv2 ... or FD."""
    titles = {FRECHET_TITLES.get(name, "FD") for name in extractors}
    return titles.pop() if len(titles) == 1 else "FD"


def kernel_title(extractors: Iterable[str]) -> str:
    """What a table or figure calls the kernel distance of its rows: KID, CMMD ... or KD."""
    titles = {KERNEL_TITLES.get(name, "KD") for name in extractors}
    return titles.pop() if len(titles) == 1 else "KD"


def kind(extractor: str) -> str:
    """What an extractor gives: features, spatial or classes."""
    return KINDS.get(extractor, "features")


def parts(stem: str, extractors: Iterable[str]) -> tuple[str, str]:
    """(metric, extractor) of the name of a number without its N.

    The metric keeps its `delta_`; the extractor is "" for numbers of images alone.

    Args:
        stem: for example "delta_fd_efficientnet", "fid", "psnr_simulated".
        extractors: of the cell.
    """
    name, known = stem.removeprefix("delta_"), [*extractors]
    for table in (FRECHET, KERNEL):
        for extractor, usual in table.items():
            if name == usual:
                return stem, extractor
    if name == INCEPTION_SCORE[0]:
        return stem, INCEPTION_SCORE[1]
    for extractor in sorted(known, key=len, reverse=True):
        if name.endswith(f"_{extractor}"):
            return stem.removesuffix(f"_{extractor}"), extractor
    return stem, ""


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


def few_real(images: int, real_images: Mapping[str, int], dataset: str = "") -> list[str]:
    """Why distances to few real images must not be trusted as far as their intervals say.

    The error of a distance has a part that falls with the number of images and one that falls
    alike with the number of real ones, which are held fixed and so are in no interval. With fewer
    real images than generated ones the part that is left out is the larger one.

    Args:
        images: N.
        real_images: numbers of real images by extractor.
    """
    lines, enough = [], max(images, LEAST_REAL)
    for count in sorted({count for count in real_images.values() if 0 < count < enough}):
        plural = "image" if count == 1 else "images"
        text = (
            f"{dataset + ': ' if dataset else ''}only {count} real {plural} for N = {images}: "
            f"distances to them depend on which ones these are more than their intervals say, as "
            f"these hold the real images fixed"
        )
        if count < LEAST_REAL:
            text += f"; with fewer than {LEAST_REAL} they are hardly worth a look"
        lines.append(text)
    return lines
