from bench.system.timing import alternate, ratio


def test_functions_take_turns():
    order = []
    seconds = alternate(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3, warm=1
    )
    assert order == ["a", "b"] * 4
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}
    assert min(seconds["a"] + seconds["b"]) >= 0


def test_ratio_is_of_medians():
    seconds = {"fast": [1.0, 9.0, 2.0], "slow": [4.0, 1.0, 5.0]}
    assert ratio(seconds, "fast", "slow") == 2
    assert ratio(seconds, "slow", "fast") == 0.5
