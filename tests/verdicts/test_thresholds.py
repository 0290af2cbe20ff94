import pytest

from bench.core.errors import InputError
from bench.verdicts.thresholds import SHIPPED, Threshold, find, load, read


def test_shipped_entries_cover_the_metrics_of_a_run():
    found = read(SHIPPED)
    gates = {
        name: find(found, name, "any", "w8a8").gate
        for name in ("kd_x", "delta_kd_x", "psnr", "ssim", "fd_x", "delta_fd_x", "fd_twin_x")
    }
    assert [name for name, gate in gates.items() if gate] == ["kd_x", "delta_kd_x", "psnr", "ssim"]
    assert find(found, "latency", "any", "w8a8") is None
    sizes = {}
    for name in ("kid", "delta_kid_legacy_pytorch", "cmmd", "delta_cmmd", "sfid", "delta_fid"):
        entry = find(found, name, "any", "w8a8")
        sizes[name] = (entry.relative, entry.gate)
    assert sizes == {
        "kid": (0.05, True),
        "delta_kid_legacy_pytorch": (0.03, True),
        "cmmd": (0.05, False),
        "delta_cmmd": (0.03, False),
        "sfid": (0.05, False),
        "delta_fid": (0.03, False),
    }


def test_the_larger_of_absolute_and_relative_counts():
    both = Threshold(absolute=0.5, relative=0.1)
    assert (both.size(4.0), both.size(-10.0), both.size(float("nan"))) == (0.5, 1.0, 0.5)


def test_the_last_matching_entry_counts(tmp_path):
    path = tmp_path / "limits.toml"
    path.write_text(
        '[[threshold]]\nmetric = "psnr"\nscheme = "w4a8*"\ncheckpoint = "fashion-*"\n'
        "absolute = 2\ngate = false\n"
    )
    found = load(path)
    assert find(found, "psnr", "fashion-sam", "w4a8+all").absolute == 2
    assert find(found, "psnr", "fashion-sam", "w8a8").absolute == 0.5
    assert find(found, "psnr", "other", "w4a8").gate


@pytest.mark.parametrize(
    ("word", "absolute", "relative"),
    [("kd:5", 5, None), ("kd:5%", None, 0.05), ("kd_x:1e-2", 0.01, None), ("kd", None, 0.05)],
)
def test_words(word, absolute, relative):
    found = load(words=[word])
    entry = find(found, "kd_x", "a", "fp32")
    assert (entry.absolute, entry.relative, entry.gate) == (absolute, relative, True)
    assert not find(found, "psnr", "a", "w8a8").gate


@pytest.mark.parametrize("word", ["", "psnr:", "psnr:-1", "psnr:1:2", "latency", "a b"])
def test_bad_words(word):
    with pytest.raises(InputError, match="--fail-on"):
        load(words=[word])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "threshold = 3",
        "[[threshold]",
        "[[limit]]\nmetric = 'psnr'",
        "[[threshold]]\nmetric = 'psnr'",
        "[[threshold]]\nmetric = 3\nabsolute = 1",
        "[[threshold]]\nabsolute = -1",
        "[[threshold]]\nabsolute = nan",
        "[[threshold]]\nabsolute = true",
        "[[threshold]]\nabsolute = 1\ngate = 'no'",
        "[[threshold]]\nabsolute = 1\nsize = 1",
    ],
)
def test_bad_files(tmp_path, text):
    path = tmp_path / "limits.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"limits\.toml"):
        load(path)
