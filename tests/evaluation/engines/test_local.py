from bench.evaluation.engines.local import run


def test_records_come_in_order_and_lazily():
    done = []
    records = run(lambda cell: done.append(cell) or cell, ["a", "b"])
    assert next(records) == "a" and done == ["a"]
    assert list(records) == ["b"]
