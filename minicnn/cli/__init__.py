"""The command `minicnn`: parse the arguments, run one sub-command, end with its exit code.

Each sub-command is one module with `add_parser(subparsers)` and `run(arguments) -> int`. None of
them imports anything heavy before it runs.
"""

import sys
from collections.abc import Sequence

from .arguments import build_parser
from .failures import ExitCode, Failure, failure_of
from .signals import sigterm_raises


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `docs/command_line.md` lists them.

    Parameters
    ----------
    argv : sequence of str or None
        The arguments after the program's name; None takes those of this process.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal cannot show is no failure
            stream.reconfigure(errors="backslashreplace")
    try:
        with sigterm_raises():
            words = sys.argv[1:] if argv is None else list(argv)
            arguments = build_parser().parse_args(words)
            arguments.command = ["minicnn", *words]
            if getattr(arguments, "threads", None) is not None:
                from ..threads import set_num_threads

                set_num_threads(arguments.threads)
            code = int(arguments.run(arguments))
            sys.stdout.flush()
            return code
    except SystemExit as exit:  # argparse: --help, --version, usage errors
        return exit.code if isinstance(exit.code, int) else int(ExitCode.USAGE)
    except BaseException as error:
        return _end(failure_of(error))


def _end(failure: Failure) -> int:
    try:
        for line in failure.lines:
            print(f"minicnn: {line}", file=sys.stderr)
        if failure.code == ExitCode.PIPE:
            # What is still buffered has no reader; closing it would complain at exit.
            sys.stdout = None
    except OSError:
        pass  # nobody reads stderr either
    return int(failure.code)
