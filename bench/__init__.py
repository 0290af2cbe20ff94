"""bench: how much image quality a diffusion checkpoint loses under quantization.

The command line (`bench run`, `bench report`, ...) and this package offer the same verbs. Importing
it has no effects and does not import torch.
"""

__version__ = "0.1.0"
