"""bench: how much image quality a diffusion checkpoint loses under quantization.

The command line (`bench run`, `bench report`, ...) is the way in; importing this package has no
effects and does not import torch.
"""

__version__ = "0.1.0"
