"""Whether a backend can run a scheme on a machine, asked in one way by all who need to know."""

from __future__ import annotations

from bench.core import extensions
from bench.core.record import Host
from bench.core.scheme import Scheme


def refusal(backend: str, scheme: Scheme, host: Host) -> str | None:
    """The reason why a backend cannot run a scheme on a host, or None.

    Raises:
        InputError: an unknown backend or method, or an argument that it does not take.
    """
    made = extensions.lookup("backends", backend)()
    if reason := made.refuses(scheme, host):
        return reason
    # One of another package may not know of methods, and would leave them out in silence.
    if scheme.methods and not getattr(made, "takes_methods", False):
        return f"{backend} runs no methods ({', '.join(scheme.method_names)})"
    # `joined` quantizes the text encoders of a pipeline, too.
    if scheme.also and not hasattr(made, "joined"):
        others = "leave --also out, or take ao-*, bnb-*, gguf-* or quanto-*"
        return f"{backend} quantizes no text encoders: {others}"
    return None
