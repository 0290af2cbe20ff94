"""Every built-in extension keeps the contract of its table: attributes and calls, nothing run."""

import inspect

import pytest

from bench.core import extensions, protocols, tables

# Table -> its contract, and whether its entries are classes, which are called without arguments.
CONTRACTS = {
    "sources": (protocols.Source, False),
    "datasets": (protocols.Dataset, False),
    "backends": (protocols.Backend, True),
    "methods": (protocols.Method, True),
    "samplers": (protocols.Sampler, False),
    "extractors": (protocols.Extractor, True),
    "metrics": (protocols.Metric, True),
    "probes": (protocols.Probe, True),
    "engines": (protocols.Engine, False),
}
KINDS = {"str": str, "int": int, "bool": bool, "tuple[str, ...]": tuple}
ENTRIES = [(table, name) for table, entries in tables.TABLES.items() for name in entries]


def methods(contract):
    return {
        name: value
        for name, value in vars(contract).items()
        if inspect.isfunction(value) and name not in ("__init__", "__subclasshook__")
    }


def misfits(found, required, bound):
    """What of the contract's parameters the function does not take as the contract calls it."""
    given, wanted = (list(inspect.signature(f).parameters.values()) for f in (found, required))
    given, wanted = given[1 if bound else 0 :], wanted[1:]
    wrong = [
        f"{asked.name} is not parameter {k + 1}"
        for k, asked in enumerate(wanted)
        if k >= len(given) or given[k].name != asked.name
    ]
    optional = {p.name for p in wanted if p.default is not p.empty}
    wrong += [
        f"{p.name} must have a default"
        for p in given
        if p.default is p.empty and p.name in optional
    ]
    extra = [p for p in given[len(wanted) :] if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return wrong + [f"{p.name} has no default" for p in extra if p.default is p.empty]


def test_every_table_has_a_contract():
    assert set(CONTRACTS) == set(tables.TABLES)


@pytest.mark.parametrize(("table", "name"), ENTRIES)
def test_an_entry_keeps_the_contract_of_its_table(table, name):
    contract, is_class = CONTRACTS[table]
    found = extensions.lookup(table, name)
    assert inspect.isclass(found) is is_class
    if is_class:
        # The pipeline makes one with no argument.
        inspect.signature(found).bind()
    for method, required in methods(contract).items():
        name = method
        # A method of quantization that only prepares the graph is not called.
        if table == "methods" and not any(method in vars(each) for each in found.__mro__):
            name = "prepare"
        function = getattr(found, name) if is_class else found
        assert not misfits(function, required, bound=is_class), method


@pytest.mark.parametrize(("table", "name"), ENTRIES)
def test_an_entry_has_the_attributes_of_its_contract(table, name):
    found = extensions.lookup(table, name)
    for attribute, kind in vars(CONTRACTS[table][0]).get("__annotations__", {}).items():
        value = inspect.getattr_static(found, attribute)
        # Where it is read from weights, only what reads it is looked at.
        if hasattr(value, "__get__"):
            assert inspect.signature(value.__get__).return_annotation == kind, attribute
        else:
            assert type(value) is KINDS[kind], f"{attribute} is {value!r}, not {kind}"


def test_a_method_of_another_shape_is_found():
    class Wrong:
        def measure(self, images, more):
            """Takes something else."""

    assert misfits(Wrong.measure, protocols.Metric.measure, bound=True) == [
        "evidence is not parameter 1",
        "more has no default",
    ]
