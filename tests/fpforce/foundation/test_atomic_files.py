"""A file that is replaced is whole at every moment: the old one until the new one is on the disk."""

import os
import stat
import subprocess
import sys

import pytest

from fpforce.foundation.atomic_files import new_folder, replacing
from fpforce.foundation.errors import InputError


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"old")
    return path


def write(path, content=b"new"):
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def test_the_new_file_takes_the_place_of_the_old_and_nothing_is_left_beside_it(old):
    write(old)
    assert old.read_bytes() == b"new" and list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_fault_between_write_and_replace_leaves_the_old_file_whole(old, monkeypatch, fails):
    def fault(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, fails, fault)
    with pytest.raises(OSError, match="No space left"):
        write(old)
    assert old.read_bytes() == b"old" and list(old.parent.iterdir()) == [old]


def test_an_error_in_the_writing_leaves_the_old_file_whole(old):
    with pytest.raises(ZeroDivisionError), replacing(old) as unfinished:
        unfinished.write_bytes(b"half")
        _ = 1 / 0
    assert old.read_bytes() == b"old" and list(old.parent.iterdir()) == [old]


def test_a_process_that_is_killed_before_the_replacement_leaves_the_old_file_whole(old):
    code = (
        "import os, signal, sys\n"
        "from fpforce.foundation.atomic_files import replacing\n"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "with replacing(sys.argv[1]) as unfinished: unfinished.write_bytes(b'new')\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(old)]).returncode != 0
    assert old.read_bytes() == b"old"
    write(old)  # over what the killed process left
    assert old.read_bytes() == b"new" and list(old.parent.iterdir()) == [old]


@pytest.mark.skipif(os.name == "nt", reason="Windows opens no folders")
def test_content_is_on_the_disk_before_the_name_and_the_name_before_it_returns(old, monkeypatch):
    """The order of the calls: fsync of the file, replace, fsync of the folder."""
    calls, fsync, replace = [], os.fsync, os.replace

    def watched_fsync(descriptor):
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def watched_replace(*arguments):
        calls.append("replace")
        replace(*arguments)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    write(old)
    assert calls == ["file", "replace", "folder"]


def test_a_second_writer_of_the_same_file_is_refused_and_the_first_one_is_whole(old):
    with replacing(old) as unfinished:
        unfinished.write_bytes(b"first")
        with pytest.raises(InputError, match="written by another process"), replacing(old) as other:
            other.write_bytes(b"second")
    assert old.read_bytes() == b"first" and list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("name", ["model.pt.part", "model.pt.part.lock"])
def test_a_link_in_place_of_the_unfinished_file_is_not_followed(old, name):
    victim = old.with_name("victim")
    victim.write_text("whole")
    old.with_name(name).symlink_to(victim)
    try:
        write(old)
    except OSError as error:
        assert error.filename is not None
    assert victim.read_text() == "whole"


def test_a_folder_appears_when_all_is_in_it(tmp_path):
    path = tmp_path / "out"
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part" / "left").write_text("by a killed process")
    with new_folder(path) as unfinished:
        (unfinished / "a").write_text("a")
        assert not path.exists()
    assert [one.name for one in path.iterdir()] == ["a"] and list(tmp_path.iterdir()) == [path]


def test_a_folder_does_not_appear_where_its_making_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "out") as unfinished:
        (unfinished / "a").write_text("a")
        _ = 1 / 0
    assert not list(tmp_path.iterdir())
