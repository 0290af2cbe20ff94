from importlib import metadata

from bench.system import host


def test_fingerprint_names_versions_without_importing():
    found = host.fingerprint()
    assert found.versions["torch"] == metadata.version("torch")
    assert found.device == "cpu" and found.isa and found.threads >= 1


def test_threads_follow_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert host.threads() == 3
