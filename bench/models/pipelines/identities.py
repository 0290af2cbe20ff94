"""What decides the numbers of pipelines besides bench's own code: the library of text encoders."""

from __future__ import annotations

from importlib import metadata

TRANSFORMERS = "transformers"


def versions(source: str = "") -> dict[str, str]:
    """The version of transformers, whose encoders and tokenizers make the embeddings."""
    try:
        return {"package": f"{TRANSFORMERS} {metadata.version(TRANSFORMERS)}"}
    except metadata.PackageNotFoundError:
        return {"package": f"{TRANSFORMERS} missing"}
