"""`minicnn gradcheck`: every gradient of a model against finite differences."""

import argparse
from typing import Any

from . import settings as defaults
from .console import Console
from .failures import ExitCode, Failure, blaming
from .train import architecture
from .values import whole

SAMPLES = 8


def add_parser(subparsers: Any) -> None:
    """Declare the sub-command and its options."""
    parser = subparsers.add_parser(
        "gradcheck",
        help="check the gradients of a model",
        allow_abbrev=False,
        description="Compare every gradient of a fresh model with finite differences, layer by "
        "layer, on a few images.",
    )
    add = parser.add_argument
    add("data", nargs="?", metavar="DATA", help="as for train; default: digits")
    known = ", ".join(defaults.ARCHITECTURES)
    add("--arch", metavar="NAME", type=architecture, default="auto", help=f"{known}, or a .json")
    add("--samples", metavar="N", type=whole(1, 256), default=SAMPLES, help="images to use (8)")
    add("--seed", metavar="N", type=whole(0, 2**64 - 1), default=0, help="decides the weights (0)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the table; a wrong gradient ends with the code for a bad model."""
    from .. import models
    from ..gradient_check import gradcheck
    from .job import open_data

    dataset = open_data(arguments.data).train
    x, y = dataset.images[: arguments.samples], dataset.labels[: arguments.samples]
    with blaming(ExitCode.MODEL):
        model = models.make(arguments.arch, x.shape[1:], len(dataset.classes), arguments.seed)
    result = gradcheck(model, x, y, seed=arguments.seed)
    Console().result(str(result))
    if not result.passed:
        raise Failure(ExitCode.MODEL, "error: the table shows gradients that are wrong")
    return ExitCode.DONE
