from importlib import metadata

import pytest

from bench.errors import InputError
from bench.features import pretrained


def test_without_transformers_it_says_what_to_install(monkeypatch, tmp_path):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    monkeypatch.setenv("BENCH_CLIP", str(tmp_path))
    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(InputError, match="extractor clip needs transformers: pip install"):
        pretrained.versions("clip")


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_damaged_descriptions(monkeypatch, tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "model.safetensors").write_bytes(b"")
    monkeypatch.setenv("BENCH_DINOV2", str(tmp_path))
    with pytest.raises(InputError, match="cannot be read"):
        pretrained.configuration("dinov2")


def test_a_change_of_either_file_is_another_digest(monkeypatch, tmp_path):
    import os

    monkeypatch.setenv("BENCH_CLIP", str(tmp_path))
    found = set()
    for k, (said, weights) in enumerate([("{}", "a"), ("{}", "b"), ("{ }", "b")]):
        (tmp_path / "config.json").write_text(said)
        (tmp_path / "model.safetensors").write_text(weights)
        for name in ("config.json", "model.safetensors"):
            os.utime(tmp_path / name, ns=(k, k))
        found.add(pretrained.digest("clip"))
    assert len(found) == 3
    assert pretrained.digest("efficientnet") == ""
