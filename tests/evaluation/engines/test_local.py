from bench.evaluation.engines.local import run


def test_what_the_worker_tells_comes_in_order_and_lazily():
    taken = []

    def worker(cells):
        for cell in cells:
            taken.append(cell)
            yield f"progress of {cell}"
            yield cell

    told = run(worker, ["a", "b"])
    assert [next(told), next(told)] == ["progress of a", "a"] and taken == ["a"]
    assert list(told) == ["progress of b", "b"]
