"""The names of floors are arguments that the backend takes."""

from bench.core import extensions, floors


def test_every_name_is_an_execution():
    for name, kernel in floors.KERNELS.items():
        made = extensions.lookup("backends", floors.backend(name))()
        assert (made.execution, made.kernel) == (name, kernel)
