"""The one error type for mistakes a user can mend; commands print it as one line and exit with code 2."""


class InputError(Exception):
    """An input, option or file that cannot be used; the message names the value, the place and the remedy."""


def install_extra(*extras: str) -> str:
    """The remedy where a package is missing that comes with one of these extras."""
    return (
        f"install fpforce with the extra {' or '.join(f'`{extra}`' for extra in extras)} (pip install "
        f"'.[{extras[0]}]' in its folder)"
    )


class NoWorkersError(InputError):
    """Nobody does what others were asked to do: Dask is missing, its scheduler does not answer, or parts are lost."""
