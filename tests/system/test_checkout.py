"""The commit of a folder, asked without running a program that the folder's owner chose."""

from __future__ import annotations

import subprocess

import pytest

from bench.system.checkout import git_state

IDENTITY = ("-c", "user.email=a@example.org", "-c", "user.name=a")


def git(folder, *words):
    done = subprocess.run(["git", "-C", str(folder), *IDENTITY, *words], capture_output=True)
    return done.stdout.decode().strip()


@pytest.fixture
def checkout(tmp_path):
    """A committed file in a checkout."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "a").write_text("a\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "a")
    return folder


def test_commit_and_dirty(checkout, tmp_path, monkeypatch):
    commit = git(checkout, "rev-parse", "HEAD")
    # Variables of a hook that runs around us point elsewhere.
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    assert git_state(checkout) == (commit, False)
    (checkout / "a").write_text("b\n")
    assert git_state(checkout) == (commit, True)
    assert git_state(tmp_path) == ("", False)


def test_nothing_of_a_hostile_configuration_is_executed(checkout, tmp_path):
    marker = tmp_path / "executed"
    (checkout / ".gitattributes").write_text("* filter=x\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "b")
    program = f"sh -c 'touch {marker}; cat'"
    keys = ("core.fsmonitor", "core.sshCommand", "core.pager", "diff.external", "core.gitProxy")
    for key in (*keys, "filter.x.clean", "filter.x.process", "filter.y=z.clean"):
        git(checkout, "config", key, program)
    git(checkout, "config", "filter.x.required", "true")
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-index-change", "fsmonitor-watchman", "pre-auto-gc"):
        for hook in (hooks / name, checkout / ".git" / "hooks" / name):
            hook.write_text(f"#!/bin/sh\ntouch {marker}\n")
            hook.chmod(0o755)
    git(checkout, "config", "core.hooksPath", str(hooks))
    (checkout / "a").write_text("a\n")
    # What git itself does here.
    git(checkout, "status", "--porcelain")
    assert marker.exists()
    marker.unlink()
    commit = git(checkout, "rev-parse", "HEAD")
    marker.unlink(missing_ok=True)
    assert git_state(checkout)[0] == commit
    assert not marker.exists()


def test_a_program_named_git_in_the_working_folder_is_not_taken(checkout, tmp_path, monkeypatch):
    marker = tmp_path / "executed"
    (checkout / "git").write_text(f"#!/bin/sh\ntouch {marker}\n")
    (checkout / "git").chmod(0o755)
    monkeypatch.chdir(checkout)
    for path in (".", "", ":/nowhere", "checkout"):
        monkeypatch.setenv("PATH", path)
        assert git_state(checkout) == ("", False)
    assert not marker.exists()
