"""What every command has in common: options from a function's signature, errors as one line, exit statuses.

0: done. 1: a fault of the program itself (traceback). 2: something the user can mend (one line on stderr). 130: stopped
by Ctrl-C, SIGTERM or SIGHUP, with one line on stderr. A closed terminal, or a pipe without a reader, does not end a
command by itself; the SIGHUP that comes with the former does.
"""

import errno
import functools
import logging
import sys
from collections.abc import Callable
from typing import Any

# What disks and systems answer, of whatever file: the user's to mend. Others are too where they name a file.
_OF_THE_SYSTEM = (errno.EROFS, errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENFILE, getattr(errno, "ESTALE", errno.EIO))


def command(function: Callable[..., int | None]) -> Callable[..., None]:
    """Turn a function with typer annotations into a command's `main(arguments=None)`.

    The function's docstring is the help. It returns an exit status or None. InputError, a full disk, a file that cannot
    be opened or written and a lack of memory are shown as `error: ...` on one line with exit status 2,
    KeyboardInterrupt as its message with 130.
    """

    told: list[BaseException] = []  # by what the function ended, where somebody has said so

    @functools.wraps(function)
    def guarded(*args: Any, **options: Any) -> None:
        import typer

        from fpforce.foundation.errors import InputError

        try:
            status = function(*args, **options)
        except InputError as error:
            _say("error", error)
            status = 2
        except KeyboardInterrupt as stop:
            _say("interrupted", stop)
            told.append(stop)
            status = 130
        except SystemExit as end:
            told.append(end)
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                message = f"no space left on the disk of {error.filename or 'the output'}; free some and start again"
            elif error.errno in _OF_THE_SYSTEM or (error.errno is not None and error.filename is not None):
                message = f"{error.filename or 'a file'}: {error.strerror}; check the path"
            else:
                raise
            _say("error", message)
            status = 2
        except MemoryError as error:
            _say("error", f"not enough memory: {error or 'an allocation failed'}; take less at a time")
            status = 2
        raise typer.Exit(status or 0)

    def main(arguments: list[str] | None = None) -> None:
        from fpforce.foundation.signals import interrupting

        with interrupting(at_the_end_of_the_process=arguments is None):
            if arguments is None:
                _outlive_the_terminal()
            try:
                import typer

                _show_log()
                app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
                app.command()(guarded)
                told.clear()
                app(args=arguments, prog_name=None if arguments is None else function.__module__.rsplit(".", 1)[-1])
            except KeyboardInterrupt as stop:  # before the command itself has begun
                _say("interrupted", stop)
                raise SystemExit(130) from None
            except SystemExit as end:  # which typer makes of a KeyboardInterrupt, as while it reads the options
                if end.code == 130 and not told:
                    _say("interrupted", "")
                raise

    main.__doc__ = function.__doc__
    setattr(main, "command", guarded)  # noqa: B010 (its annotations are what the documentation reads the options from)
    return main


def _outlive_the_terminal() -> None:
    from fpforce.foundation.terminal import OutlivingStream

    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is not None:
            setattr(sys, name, OutlivingStream(stream))


def _say(kind: str, message: object) -> None:
    """One line on stderr, whatever line breaks the message has."""
    print(f"{kind}: {' '.join(str(message).split())}".rstrip(" :"), file=sys.stderr, flush=True)


def _show_log() -> None:
    """Show fpforce's log from INFO up on stderr."""
    logger = logging.getLogger("fpforce")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
