"""`bench certify`: what it writes and says, exit codes, and bad input in one line."""

import json

import pytest
from helpers.gates import side

from bench.core.record import to_json
from bench.system import influences


@pytest.fixture
def folder(tmp_path):
    """The folder of a run whose change is 16 +- 1.8, full precision being 114."""
    of = side()
    folder = tmp_path / "reports" / of.run.id
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(to_json(of.run), encoding="utf-8")
    influences.save(folder / influences.NAME, of.influences)
    return folder


@pytest.fixture
def certify(bench, folder):
    return lambda *words: bench("certify", *words, "--out", folder.parent)


@pytest.mark.parametrize(
    ("margin", "code", "verdict"),
    [("20", 0, "non-inferior"), ("3%", 1, "worse"), ("16", 3, "not shown")],
)
def test_it_writes_a_certificate_and_says_what_it_shows(certify, folder, margin, code, verdict):
    words = "--margin", f"kd_efficientnet:{margin}"
    found, stdout, stderr = certify(*words)
    assert (found, stderr) == (code, "")
    line, path = stdout.splitlines()
    assert line.startswith(
        f"fashion-sam w8a8 simulated: {verdict}: delta_kd_efficientnet worse by"
    )
    assert path == str(folder / "certificate.json")
    data = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))
    assert (data["claims"][0]["verdict"], data["margin"]) == (verdict, margin)
    # The same again is no conflict.
    assert certify(*words) == (code, stdout, "")
    # Found by the run that it names, and by a run that is named.
    for run in ((), (folder.name,), (folder,)):
        found, stdout, _ = certify(*run, "--check", folder / "certificate.json")
        assert (found, stdout.splitlines()[-1].split(":")[0]) == (0, "holds")


def test_check_of_a_certificate_elsewhere_finds_its_run(certify, tmp_path):
    path = tmp_path / "c.json"
    assert certify("--margin", "kd_efficientnet:20", "--to", path)[0] == 0
    assert certify("--check", path)[0] == 0


def test_what_was_changed_is_said(certify, folder):
    assert certify("--margin", "kd_efficientnet:20")[0] == 0
    path = folder / "certificate.json"
    written = path.read_text(encoding="utf-8")
    path.write_text(written.replace('"margin": "20"', '"margin": "40"'), encoding="utf-8")
    code, stdout, _ = certify("--check", path)
    assert (code, len(stdout.splitlines())) == (1, 4)
    assert "its seal is another one" in stdout
    path.write_text(written, encoding="utf-8")
    content = bytearray((folder / influences.NAME).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / influences.NAME).write_bytes(bytes(content))
    code, stdout, _ = certify("--check", path)
    assert (code, stdout.split(" is")[0]) == (1, "influences.npz")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "--margin METRIC:SIZE"),
        (["--margin", "kd_efficientnet"], "--margin takes METRIC:SIZE"),
        (["--margin", "kd_efficientnet:-3"], "--margin takes a size above 0"),
        (["--margin", "psnr:0.5"], "has no delta_psnr; its changes are delta_kd_efficientnet"),
        (["--margin", "kd_efficientnet:3", "--level", "2"], "--level must be above 0.5"),
        (["--margin", "kd_efficientnet:3", "--cells", "w2*"], "no measured quantized cell"),
        (["--margin", "kd_efficientnet:3", "--to", "/no/such/c.json"], "make it first"),
        (["nosuch", "--margin", "kd_efficientnet:3"], "no run 'nosuch'"),
        (["--check", "nosuch.json"], "nosuch.json"),
        (["--check", "nosuch.json", "--margin", "kd:3"], "leave --margin and --to out"),
    ],
)
def test_bad_input_is_one_line(certify, folder, words, text):
    code, stdout, stderr = certify(*words)
    assert (code, stdout) == (2, "")
    (line,) = stderr.splitlines()
    assert text in line
    assert not (folder / "certificate.json").exists()


def test_no_certificate_is_written_over(certify, folder):
    assert certify("--margin", "kd_efficientnet:20")[0] == 0
    code, _, stderr = certify("--margin", "kd_efficientnet:21")
    assert (code, "holds another certificate: name a file by --to" in stderr) == (2, True)
    (folder / "certificate.json").write_text("{}", encoding="utf-8")
    code, _, stderr = certify("--check", folder / "certificate.json")
    assert (code, "not a certificate of bench" in stderr) == (2, True)
