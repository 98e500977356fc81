"""The one error type for mistakes a user can mend; commands print it as one line and exit with code 2."""


class InputError(Exception):
    """An input, option or file that cannot be used; the message names the value, the place and the remedy."""
