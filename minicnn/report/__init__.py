"""What a run shows of itself: report.html, and the curves and the confusion matrix as PNG.

`facts.py` says what a report is made of, `page.py` lays it out; the rest draws. The pictures of
`plots.py` need matplotlib, the report needs nothing.
"""

from .facts import Facts, Judged, Shown
from .page import page
from .pictures import Picture, as_bytes, encode, encode_pixels, thumbnail
from .plots import (
    BEST,
    TRAINING,
    VALIDATION,
    MissingExtra,
    draw_confusion_matrix,
    draw_curves,
)
from .selection import confident_mistakes, to_explain, unsure_hits

__all__ = [
    "BEST",
    "TRAINING",
    "VALIDATION",
    "Facts",
    "Judged",
    "MissingExtra",
    "Picture",
    "Shown",
    "as_bytes",
    "confident_mistakes",
    "draw_confusion_matrix",
    "draw_curves",
    "encode",
    "encode_pixels",
    "page",
    "thumbnail",
    "to_explain",
    "unsure_hits",
]
