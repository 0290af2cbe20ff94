"""The noise floors: changes of an execution that everyone accepts, by name.

A quantizer that moves images no farther than these has moved them no farther than noise does.
"""

from __future__ import annotations

BFLOAT16 = "bf16"
# What executes a floor, as its rows say it. The backend of a floor is "float:NAME".
KERNELS = {
    BFLOAT16: "bfloat16",
    "batch": "float32 in half batches",
    "threads": "float32 by another number of threads",
    "layout": "float32 with channels last",
}
BACKEND = "float"


def backend(name: str) -> str:
    """The backend that executes a floor."""
    return f"{BACKEND}:{name}"
