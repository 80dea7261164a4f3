"""The error of everything that reads data."""


class DataError(ValueError):
    """Data that cannot be used: a missing, broken or foreign file, or a set that is inconsistent.

    The message names the file, what was found, what was expected and, where there is one, the
    way out. The command line ends with exit code 3.
    """
