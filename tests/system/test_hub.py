"""What is fetched from the hub is said before it is."""

from __future__ import annotations

from types import SimpleNamespace

import huggingface_hub

from bench.system import hub


def test_a_download_is_told_with_its_size(monkeypatch, tmp_path, capsys):
    files = {"unet/diffusion_pytorch_model.safetensors": 70_000_000, "unet/config.json": 900}
    files |= {"flax_model.msgpack": 10**9}
    siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in files.items()]

    def model_info(self, name, **options):
        return SimpleNamespace(siblings=siblings)

    def snapshot_download(name, **options):
        assert "fetching" in (told := capsys.readouterr().err)
        assert told == "fetching hf:me/mine from the hub: 2 files, up to 70 MB\n"
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert hub.fetched("me/mine", "0" * 40, [*hub.DESCRIPTIONS, *hub.SAFE]) == tmp_path
