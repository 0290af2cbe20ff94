"""How commands end: codes, one line for whatever went wrong, no traceback; real signals."""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from helpers.gates import keep, side

from bench.cli import exits, listing
from bench.core.errors import InputError
from bench.evaluation.scoring import Scoring
from bench.system import disk
from bench.system.runs import read_run

SMALL = ["--scheme", "w8a8", "--backend", "simulated", "--metrics", "psnr", "--images", "4"]
SMALL += ["--steps", "1", "--checkpoints", "*"]
# All verbs in one process, since an import takes longer than what they do here.
VERBS = """
import sys
from bench.cli import exits
from bench.system import terminal
from bench.cli.app import app
lines = [line.split() for line in sys.argv[1].splitlines()]
for words in lines:
    sys.argv[1:] = words
    code = exits.ended(lambda: app(words, standalone_mode=False))
    terminal.say(f"CODE {code} {' '.join(words)}")
"""


def raising(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (InputError("do this\ninstead"), 2, "bench: do this instead"),
        (InputError(f"no {'a' * 10_000} here, nor {'b' * 10_000}"), 2, "aa... here, nor bb"),
        (MemoryError(), 2, "not enough memory (MemoryError): lower --batch"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), 2, "memory"),
        (ImportError("libtorch.so: failed to map segment from shared object"), 2, "memory"),
        (RuntimeError("can't start new thread"), 2, "memory"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 2, "/x: No space left"),
        (OSError(errno.EMFILE, "Too many open files"), 2, "ulimit -n"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "/x: Permission denied"),
        (SystemExit(0), 70, "internal error (SystemExit: 0)"),
        (SystemExit("enough"), 70, "internal error (SystemExit: enough)"),
        (KeyError("a"), 70, "internal error (KeyError: 'a'); the traceback is in "),
        (RecursionError("too deep"), 70, "RecursionError"),
        (KeyboardInterrupt(), 130, "bench: interrupted; repeat the command to go on"),
    ],
)
def test_every_exception_has_a_code_and_one_line(error, code, says, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["bench", "run", "--out", "a b"])
    assert exits.ended(raising(error)) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_the_traceback_is_kept_and_printed_on_request(bench, cache, monkeypatch, tmp_path):
    monkeypatch.setattr(listing, "load_cards", lambda *words: {}["missing"])
    # Where the second goes, as both have the name of one second.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    # Set by --traceback, and taken back after the test.
    monkeypatch.setenv(exits.VARIABLE, "")
    code, stdout, stderr = bench("list", "--out", tmp_path / "a b")
    assert (code, stdout) == (70, "")
    assert "Traceback" not in stderr
    written = Path(re.search(r"traceback is in (\S+);", stderr)[1])
    assert written.is_relative_to(cache)
    assert "KeyError: 'missing'" in written.read_text()
    again = shlex.split(stderr.rpartition(", or ")[2])
    assert again == ["bench", "--traceback", "list", "--out", str(tmp_path / "a b")]
    code, _, stderr = bench(*again[1:])
    assert code == 70
    assert "Traceback (most recent call last)" in stderr and "in list_all" in stderr
    monkeypatch.setenv(exits.VARIABLE, "1")
    assert "Traceback" in bench("list")[2]


def test_help_and_docs_state_the_codes(bench):
    for verb, text in (("run", exits.HELP), ("compare", exits.HELP_COMPARE)):
        stdout = bench(verb, "--help")[1]
        assert " ".join(text.split()) in " ".join(stdout.split())
    table = (Path(__file__).parents[2] / "docs" / "gate.md").read_text(encoding="utf-8")
    for code in (0, 1, 2, 3, 4, 70, 130):
        assert f"| {code} |" in table


@pytest.mark.parametrize("words", [(), ("baseline",)])
def test_a_bare_command_prints_its_help(bench, words):
    code, stdout, stderr = bench(*words)
    assert (code, stdout) == (2, "")
    assert stderr.startswith("Usage: ")
    assert len(stderr.splitlines()) > 5


def test_a_failed_cell_ends_with_4_after_its_report(bench, cards, tmp_path, monkeypatch):
    real = Scoring.measure

    def measure(self, scored, *names):
        if scored.twins is None:
            return real(self, scored, *names)
        raise RuntimeError("broken kernel")

    monkeypatch.setattr(Scoring, "measure", measure)
    code, stdout, stderr = bench("run", *SMALL, "--cards", cards, "--out", tmp_path / "out")
    assert code == exits.FAILED
    assert "failed: RuntimeError: broken kernel" in stderr
    folder = Path(stdout.strip()).parent
    assert [r.status for r in read_run(folder).records] == ["ok", "failed"]
    assert bench("report", folder)[0] == 0


def test_nothing_that_was_asked_for_can_be_measured(bench, cards, tmp_path):
    words = ("--bits", "4", "--backend", "int8-cuda", "--cards", cards, "--out", tmp_path / "out")
    code, stdout, stderr = bench("run", *words)
    assert (code, stdout) == (2, "")
    assert "nothing that was asked for can be measured here: int8-cuda needs" in stderr
    assert not (tmp_path / "out").exists()


def test_users_own_cards_are_all_selected(bench, tmp_path, monkeypatch):
    from helpers.tiny import write_card, write_cards

    entries = [write_card(tmp_path, "one", method="ema"), write_card(tmp_path, "two", seed=1)]
    write_cards(tmp_path, [*entries, write_card(tmp_path, "one1", method="ema", seed=2)])
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = bench("run", "--bits", "4", "--images", "4", "--dry-run")
    assert code == 0
    assert "checkpoints of checkpoints.yaml: one, two (--checkpoints chooses)" in stderr
    assert {line.split()[0] for line in stdout.splitlines() if " w4a8 " in line} == {"one", "two"}


def start(words, folder, **more):
    environment = {**os.environ, "BENCH_CACHE": str(folder / "cache"), **more}
    words = [sys.executable, "-m", "bench", *map(str, words)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    # Under `nohup` children ignore a hang-up, tests and what they start as well.
    kept = signal.signal(signal.SIGHUP, signal.SIG_DFL) if hasattr(signal, "SIGHUP") else None
    try:
        return subprocess.Popen(words, env=environment, cwd=folder, text=True, **streams)
    finally:
        if kept is not None:
            signal.signal(signal.SIGHUP, kept)


@pytest.mark.parametrize(
    ("numbers", "code", "wait"),
    [
        ((signal.SIGINT,), 130, "imports"),
        pytest.param((signal.SIGINT,), 130, "sampling", marks=pytest.mark.slow),
        pytest.param((signal.SIGTERM,), 143, "sampling", marks=pytest.mark.slow),
        pytest.param((signal.SIGINT, signal.SIGINT), 130, "sampling", marks=pytest.mark.slow),
    ],
)
def test_a_signal_says_how_to_go_on(cards, cache, tmp_path, numbers, code, wait):
    shutil.copytree(cache / "fits", tmp_path / "cache" / "fits")
    sizes = ["--images", "3000", "--batch", "50", "--checkpoints", "*", "--scheme", "w8a8"]
    words = ["run", *sizes, "--backend", "simulated", "--cards", cards]
    process = start(words, tmp_path)
    if wait == "imports":
        # The interpreter itself is up; the command is not.
        time.sleep(0.8)
    else:
        end = time.monotonic() + 60
        while not list(tmp_path.glob("cache/images/*/*.npy")) and time.monotonic() < end:
            time.sleep(0.05)
    for number in numbers:
        os.killpg(process.pid, number)
        time.sleep(0.01)
    stderr = process.communicate(timeout=60)[1]
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1] == "bench: interrupted; repeat the command to go on"
    # As a shell reports it: the signal may end the interpreter while it tidies up, after the line.
    found = process.returncode
    assert (found if found >= 0 else 128 - found) == code
    assert not (tmp_path / "reports").exists()


# A library that never comes back, and takes no notice of signals: a mutex is locked twice.
STUCK = """
import ctypes
from pathlib import Path
mutex, library = ctypes.create_string_buffer(256), ctypes.CDLL(None)
library.pthread_mutex_lock(mutex)
Path("stuck").touch()
library.pthread_mutex_lock(mutex)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a mutex of zeros is one of glibc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_library_that_hangs_while_it_is_loaded_can_be_ended(tmp_path, number):
    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries" / "typer.py").write_text(STUCK)
    process = start(["list"], tmp_path, PYTHONPATH=str(tmp_path / "libraries"))
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "stuck").exists() and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.2)
        process.send_signal(number)
        assert process.wait(timeout=20) == -number
    finally:
        process.kill()
        process.communicate()


def verbs(folder, lines, environment, redirect=""):
    """Run verbs in their surroundings; (lines of stderr, codes by verb)."""
    command = shlex.join([sys.executable, "-c", VERBS, "\n".join(lines)]) + " " + redirect
    done = subprocess.run(
        ["/bin/bash", "-c", command], env=environment, cwd=folder, capture_output=True, text=True
    )
    codes = re.findall(r"(?m)^CODE (\d+) (\w+)", done.stderr)
    return done.stderr, [(verb, int(code)) for code, verb in codes]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_too_little_address_space_is_no_regression(tmp_path):
    """OpenBLAS ended the process with 1, or its threads waited for ever."""
    command = shlex.join([sys.executable, "-m", "bench", "compare"])
    done = subprocess.run(
        ["/bin/bash", "-c", f"ulimit -v 300000; {command}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("bench: not enough memory: this process may have 300000 KiB")


@pytest.mark.parametrize(
    ("number", "word"),
    [
        *((number, "make room") for number in (errno.ENOSPC, errno.EDQUOT)),
        *((number, "ulimit -n") for number in (errno.EMFILE, errno.ENFILE)),
        *((number, "give the permission") for number in (errno.EACCES, errno.EROFS)),
        (errno.ENOMEM, "lower --batch"),
    ],
)
def test_a_command_and_a_run_say_the_same_of_the_machine(number, word, capsys):
    error = OSError(number, os.strerror(number))
    assert exits.ended(raising(error)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    _, _, advice = line.removeprefix("bench: ").partition(": " if number == errno.ENOMEM else "; ")
    assert word in advice and advice in str(disk.stops(error))


LINES = (
    "list",
    "report run --out file",
    "compare",
    "compare run run",
    "compare run run --out file",
    "baseline show",
    "baseline accept run --reason why --out file",
    "check --checkpoints tiny*",
    "check --cards nowhere.yaml",
    "run --cards nowhere.yaml",
    "run --cards .",
    "probe --cards nowhere.yaml",
    "speed --cards nowhere.yaml",
    "import nowhere.pt",
    "reference nothing efficientnet",
    "fetch nothing",
)


@pytest.mark.parametrize(
    ("change", "redirect"),
    [
        ({"HOME": None, "BENCH_CACHE": None}, ""),
        pytest.param(
            *({"HOME": "~~", "BENCH_CACHE": None, "XDG_CACHE_HOME": "relative"}, ""),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *({"BENCH_CACHE": "/dev/null", "TMPDIR": "/nowhere"}, ">/dev/full"),
            marks=pytest.mark.slow,
        ),
        ({"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}, ""),
        pytest.param(
            *({"COLUMNS": "1", "TERM": "dumb", "NO_COLOR": "1"}, ">&-"), marks=pytest.mark.slow
        ),
    ],
)
def test_hostile_surroundings_give_no_traceback(tmp_path, change, redirect):
    keep(tmp_path / "reports", side(), "run")
    (tmp_path / "file").write_text("")
    card = (
        "{name: tíny-模型, family: f, method: ema, source: safetensors, dataset: fashion-mnist, "
    )
    card += "uri: nothing.safetensors, config: {shape: [1, 28, 28]}}"
    (tmp_path / "checkpoints.yaml").write_text(f"checkpoints:\n- {card}\n", encoding="utf-8")
    environment = {k: v for k, v in {**os.environ, **change}.items() if v is not None}
    stderr, codes = verbs(tmp_path, LINES, environment, redirect)
    assert "Traceback" not in stderr
    assert [verb for verb, _ in codes] == [line.split()[0] for line in LINES]
    fine = {"list", "compare run run"}
    for (_, code), line in zip(codes, LINES, strict=True):
        expected = 0 if line in fine else 2
        if redirect == ">/dev/full":
            expected = 2
        assert code == expected, (line, code, stderr)
    told = [line for line in stderr.splitlines() if line.startswith("bench: ")]
    assert len(told) == sum(code != 0 for _, code in codes)
