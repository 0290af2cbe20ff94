"""Flags that act when they are read stand on the command line and are not handed on."""

from typing import Annotated

import typer
from typer.testing import CliRunner

from bench.cli.acting import acting

seen = []


def noted(value):
    seen.append(value)
    return value


Loud = Annotated[bool, typer.Option("--loud", callback=noted, help="Be heard.")]
Count = Annotated[int, typer.Option("--count", metavar="N", help="How many.")]


@acting(loud=(Loud, False))
def command(count: Count = 2) -> None:
    """Count."""
    print(count)


def test_the_flag_acts_and_the_command_is_not_given_it():
    app = typer.Typer()
    app.command()(command)
    made = CliRunner().invoke(app, ["--loud", "--count", "5"])
    assert (made.exit_code, made.stdout) == (0, "5\n")
    assert seen[-1] is True
    assert CliRunner().invoke(app, []).stdout == "2\n"
    assert seen[-1] is False
    told = CliRunner().invoke(app, ["--help"]).stdout
    assert "Be heard." in told
    assert "How many." in told
    assert command(count=3) is None
