"""Where in a picture a model sees a class, and whether to believe it.

`heat.py` is Grad-CAM, `trust.py` the deletion score and the comparison with random weights,
`overlay.py` the picture of it. `docs/explain.md` shows them together.
"""

from .heat import Heat, default_layer, feature_layers, grad_cam
from .overlay import overlay, png
from .trust import Deletion, deletion, random_weights_similarity

__all__ = [
    "Deletion",
    "Heat",
    "default_layer",
    "deletion",
    "feature_layers",
    "grad_cam",
    "overlay",
    "png",
    "random_weights_similarity",
]
