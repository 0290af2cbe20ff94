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
# Short names for columns and axes; legends and run.json have the full name with N.
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
# With fewer images than Inception features have dimensions, their covariance is singular.
LEAST = 2048
PUBLISHED = 50_000
# With fewer real images than this, a distance to them says next to nothing.
LEAST_REAL = 100


def frechet(extractor: str) -> str:
    """The name of the Fréchet distance of an extractor's features, without its N."""
    return FRECHET.get(extractor, f"fd_{extractor}")


def kernel(extractor: str) -> str:
    """The name of the kernel distance of an extractor's features, without its N."""
    return KERNEL.get(extractor, f"kd_{extractor}")


def frechet_title(extractors: Iterable[str]) -> str:
    """Title of the Fréchet distance in a table or figure: FID, FD-DINOv2 ... or FD if mixed."""
    titles = {FRECHET_TITLES.get(name, "FD") for name in extractors}
    return titles.pop() if len(titles) == 1 else "FD"


def kernel_title(extractors: Iterable[str]) -> str:
    """Title of the kernel distance in a table or figure: KID, CMMD ... or KD if mixed."""
    titles = {KERNEL_TITLES.get(name, "KD") for name in extractors}
    return titles.pop() if len(titles) == 1 else "KD"


def kind(extractor: str) -> str:
    """Kind of an extractor's output: features, spatial, classes or embeddings."""
    return KINDS.get(extractor, "features")


def parts(stem: str, extractors: Iterable[str]) -> tuple[str, str]:
    """(metric, extractor) of the name of a number without its N.

    The metric keeps its `delta_`; the extractor is "" for numbers of images alone.

    Args:
        stem: for example "delta_fd_efficientnet", "fid", "psnr_simulated".
        extractors: names of the extractors of the cell.
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

    The error of a distance has two parts: one falls with the number of generated images, the
    other with the number of real ones. Intervals hold the real images fixed and so leave the
    second part out, which is the larger one where there are fewer real images than generated.

    Args:
        images: number N of generated images.
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
