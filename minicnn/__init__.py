"""minicnn: train small image classifiers on an ordinary CPU."""

__version__ = "0.1.0"
