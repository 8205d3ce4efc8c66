"""The exception for input that cannot be used."""


class InputError(ValueError):
    """Input that cannot be used: the message names the value, what is allowed, and what to do.

    The commands print it as one line and exit with status 2; a library caller catches it like
    any other `ValueError`.
    """
