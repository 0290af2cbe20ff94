"""A randomly initialised CLIP with a tokenizer of single letters, as transformers saves both."""

from __future__ import annotations

from helpers.random_vision import save_clip

# With these weights some cosines of images and texts are negative.
SEED = 21


def save(folder, seed=SEED):
    """Write the network and the tokenizer into a folder; returns both.

    Every letter, and every letter that ends a word, is a token, so that no merges are needed.
    """
    from transformers import logging

    # What it prints would stand among the lines of a command under test.
    logging.disable_progress_bar()
    tokens = vocabulary()
    ends = {"bos_token_id": len(tokens) - 2, "eos_token_id": len(tokens) - 1}
    network = save_clip(folder, seed, vocab_size=len(tokens), **ends)
    return network, save_tokenizer(folder)


def save_tokenizer(folder):
    """Write the tokenizer alone."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer(vocab=vocabulary(), merges=[])
    tokenizer.save_pretrained(folder)
    return tokenizer


def vocabulary():
    """Numbers of the tokens; the one that ends a text is the last, as in CLIP's own."""
    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    return {token: k for k, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
