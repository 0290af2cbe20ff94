"""What decides the numbers of pipelines besides bench's own code: the packages behind text."""

from __future__ import annotations

from importlib import metadata

# Text encoders and tokenizers are of the first; by the others some pipelines clean prompts, where
# they are there.
PACKAGES = ("transformers", "beautifulsoup4", "ftfy")


def versions(source: str = "") -> dict[str, str]:
    """The versions of the packages that make embeddings of prompts."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"
