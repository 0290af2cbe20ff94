"""Files of prompts: a line each, and what is refused."""

import pytest

from bench.core.errors import InputError
from bench.models.pipelines import prompt_files


def written(tmp_path, text):
    path = tmp_path / "prompts.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_lines_are_prompts(tmp_path):
    path = written(tmp_path, "# mine\n a red cat \n\ntwo dogs, Zürich\n")
    assert prompt_files.read(path) == ("a red cat", "two dogs, Zürich")


def test_bench_ships_prompts():
    prompts = prompt_files.read(prompt_files.place(""))
    assert len(prompts) == len(set(prompts)) == 32


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "holds no prompt"), ("# nothing\n\n", "holds no prompt"), ("x" * 20_001, "line 1")],
)
def test_no_prompt_and_an_overlong_one_are_refused(tmp_path, text, told):
    with pytest.raises(InputError, match=told):
        prompt_files.read(written(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent\.txt"):
        prompt_files.read(tmp_path / "absent.txt")


def test_the_digest_is_of_the_prompts_in_their_order(tmp_path):
    one = prompt_files.digest(("a", "b"))
    assert one != prompt_files.digest(("b", "a"))
    assert one == prompt_files.digest(prompt_files.read(written(tmp_path, "# x\na\nb\n")))
