"""What the names of numbers are made of."""

import pytest

from bench.core import extensions
from bench.core.distances import FRECHET, KERNEL, few_real, frechet, kernel, parts


@pytest.mark.parametrize(
    ("stem", "extractors", "expected"),
    [
        ("fd_efficientnet", ("efficientnet",), ("fd", "efficientnet")),
        ("delta_kd_dinov2", ("efficientnet", "dinov2"), ("delta_kd", "dinov2")),
        ("fd_twin_inception", ("inception",), ("fd_twin", "inception")),
        ("fd_inf_inception-spatial", ("inception-spatial",), ("fd_inf", "inception-spatial")),
        ("fd_my_net", ("net", "my_net"), ("fd", "my_net")),
        ("psnr_simulated", ("efficientnet",), ("psnr_simulated", "")),
        ("psnr", ("efficientnet",), ("psnr", "")),
        ("fid", ("inception",), ("fid", "inception")),
        ("delta_cmmd", ("clip",), ("delta_cmmd", "clip")),
        ("is", ("inception-classes",), ("is", "inception-classes")),
        ("latency", (), ("latency", "")),
    ],
)
def test_parts(stem, extractors, expected):
    assert parts(stem, extractors) == expected


def test_the_names_of_distances_come_apart_again():
    for extractor in {*FRECHET, *KERNEL, *extensions.names("extractors")}:
        for name in (frechet(extractor), kernel(extractor)):
            assert parts(name, [extractor])[1] == extractor
            assert parts(f"delta_{name}", [extractor])[1] == extractor


def test_few_real_images_are_told():
    assert few_real(500, {"efficientnet": 10_000}) == []
    assert few_real(500, {"efficientnet": 0}) == []
    assert few_real(500, {"efficientnet": 500}) == []
    (line,) = few_real(500, {"efficientnet": 400, "dinov2": 400}, "folder:/data")
    assert line.startswith("folder:/data: only 400 real images for N = 500")
    assert "hardly" not in line
    (line,) = few_real(20, {"efficientnet": 2})
    assert "only 2 real images for N = 20" in line
    assert "with fewer than 100 they are hardly worth a look" in line
