from importlib import metadata

import pytest

from bench.core.errors import InputError
from bench.measurement.features import pretrained
from bench.system import hub


def test_without_transformers_it_says_what_to_install(monkeypatch, tmp_path):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    monkeypatch.setenv("BENCH_CLIP", str(tmp_path))
    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(InputError, match="clip needs transformers: pip install"):
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


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def snapshot(root, monkeypatch):
    """A repository in a cache of the hub as its client keeps it."""
    place = root / "models--someone--something"
    (place / "snapshots" / COMMIT).mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    (place / "snapshots" / COMMIT / "config.json").write_text('{"model_type": "dinov2"}')
    (place / "snapshots" / COMMIT / "pytorch_model.bin").write_bytes(b"weights")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    pretrained._snapshot.cache_clear()


@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}"])
def test_the_commit_of_the_hub_is_recorded(monkeypatch, tmp_path, revision):
    snapshot(tmp_path, monkeypatch)
    monkeypatch.setenv("BENCH_DINOV2", f"someone/something{revision}")
    monkeypatch.setattr(metadata, "version", lambda name: "5.0")
    found = pretrained.recorded(["efficientnet", "dinov2"])
    digest = pretrained.digest("dinov2")[:12]
    assert found == {"dinov2": f"someone/something@{COMMIT} ({digest})", "transformers": "5.0"}
    assert pretrained.recorded(["efficientnet", "inception"]) == {}


def test_another_commit_is_not_taken_from_the_cache(monkeypatch, tmp_path):
    snapshot(tmp_path, monkeypatch)
    monkeypatch.setenv("BENCH_DINOV2", f"someone/something@{COMMIT[::-1]}")
    with pytest.raises(InputError, match=f"hf download someone/something --revision {COMMIT[-1]}"):
        pretrained.folder("dinov2")


def test_the_defaults_are_pinned():
    for choice in pretrained.CHOICES.values():
        assert hub.COMMIT.fullmatch(choice.default.partition("@")[2])
