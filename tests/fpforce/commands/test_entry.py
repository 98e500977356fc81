"""The wrapper of every command: what the user can mend is one line and exit status 2."""

from typing import Annotated

import pytest
from typer import Option

from fpforce.commands.entry import command


@pytest.mark.parametrize("kind", [FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError])
def test_a_file_that_cannot_be_opened_is_named_on_one_line(kind, capsys):
    @command
    def main():
        raise kind(1, "Reason", "some/file")

    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: some/file: Reason; check the path\n"


def test_a_stop_is_one_line_at_whatever_moment_it_comes(capsys):
    def stopped(value: int) -> int:
        raise KeyboardInterrupt("by SIGTERM")

    @command
    def main(steps: Annotated[int, Option(callback=stopped)] = 1):
        pass

    @command
    def other():
        stopped(1)

    @command
    def of_another():
        other([])

    once = "interrupted: by SIGTERM\n"
    for each, said in ((main, "interrupted\n"), (other, once), (of_another, once)):
        with pytest.raises(SystemExit) as stop:
            each([])
        assert stop.value.code == 130 and capsys.readouterr().err == said


def test_an_error_without_a_file_stays_a_fault_of_the_program():
    @command
    def main():
        raise PermissionError("no file here")

    with pytest.raises(PermissionError):
        main([])
