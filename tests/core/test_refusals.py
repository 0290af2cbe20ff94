"""Who is asked whether a backend runs a scheme gets one answer."""

from bench.core.record import Host
from bench.core.refusals import refusal
from bench.core.scheme import Scheme
from bench.quant.backends.simulated import Simulated

HOST = Host("here", "cpu", "avx2", 1, {})


def test_a_backend_that_says_nothing_of_methods_is_given_none(monkeypatch):
    assert refusal("simulated", Scheme.parse("w4a8+bias"), HOST) is None
    monkeypatch.delattr(Simulated, "takes_methods")
    monkeypatch.setattr(Simulated, "refuses", lambda self, scheme, host: None)
    assert refusal("simulated", Scheme.parse("w4a8"), HOST) is None
    reason = refusal("simulated", Scheme.parse("w4a8+mse+bias"), HOST)
    assert reason == "simulated runs no methods (mse, bias)"


def test_its_own_reason_comes_first():
    assert "nothing to simulate" in refusal("simulated", Scheme(), HOST)
    reason = refusal("ao-int8", Scheme.parse("w4a8+bias"), HOST)
    assert reason == "ao-int8 runs no methods (bias): torchao finds its own ranges"
    reason = refusal("simulated", Scheme.parse("w16a8+mse"), HOST)
    assert reason == "method mse: the weights stay in float, so they have no range"
