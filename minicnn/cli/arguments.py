"""The parser: all sub-commands, and the kinds of values their options take."""

import argparse
import sys
from typing import Any, NoReturn

from . import check, evaluate, explain, export, gradcheck, info, predict, report, runs, train
from .failures import ExitCode

DESCRIPTION = "Train small image classifiers on an ordinary CPU, and use them."
EPILOG = """\
minicnn train                         1,797 handwritten digits, inside the package
minicnn train PHOTOS                  a folder with a folder of pictures for each class
minicnn train DATA                    a folder of IDX files, an .npz, mnist, fashion-mnist, cifar10
minicnn check PHOTOS                  broken files, copies, odd classes
minicnn evaluate runs/train-001       accuracy, per-class scores, confusion matrix
minicnn predict runs/train-001 a.png  the class of a picture
minicnn explain runs/train-001 a.png  where in the picture it is seen
"""


class Parser(argparse.ArgumentParser):
    """ArgumentParser whose errors look like all others of this program."""

    def error(self, message: str) -> NoReturn:
        print(f"minicnn: error: {message}\nminicnn: see {self.prog} --help", file=sys.stderr)
        raise SystemExit(int(ExitCode.USAGE))


class Version(argparse.Action):
    """Prints the version; it is looked up only then."""

    def __call__(self, parser: Any, *rest: Any) -> None:
        from .. import __version__

        print(f"minicnn {__version__}")
        raise SystemExit(0)


def build_parser() -> Parser:
    """The parser of the whole command line; `arguments.run` is the function to call."""
    parser = Parser(
        prog="minicnn",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=Version, nargs=0, help="print the version and exit")
    parser.set_defaults(run=lambda arguments: _print_help(parser))
    subparsers = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)
    commands = (train, evaluate, predict, explain, report, export, runs, check, info, gradcheck)
    for command in commands:
        command.add_parser(subparsers)
    return parser


def _print_help(parser: Parser) -> int:
    parser.print_help(sys.stderr)
    return ExitCode.USAGE
