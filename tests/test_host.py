from importlib import metadata

from bench import host


def test_fingerprint_names_versions_without_importing():
    found = host.fingerprint()
    assert found.versions["torch"] == metadata.version("torch")
    assert found.device == "cpu" and found.isa and found.threads >= 1


def test_threads_follow_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert host.threads() == 3


def test_code_hash_changes_with_the_code(monkeypatch, tmp_path):
    (tmp_path / "a.py").write_text("x = 1")
    monkeypatch.setattr(host, "__file__", str(tmp_path / "host.py"))
    before = host.code_hash(["a.py"])
    (tmp_path / "a.py").write_text("x = 2")
    assert host.code_hash(["a.py"]) != before
