"""A written file is whole or not there, and nothing but a file is ever replaced."""

from __future__ import annotations

import os
import signal
import stat
from typing import IO, TYPE_CHECKING

import pytest

from provenance.errors import SourceError
from provenance.files import answering, made_together, readable_like, replace_file, require_free, sweep, write_bytes

if TYPE_CHECKING:
    from pathlib import Path


def write(file: IO[bytes]) -> int:
    return file.write(b"new")


def test_file_is_made_and_replaced_with_ordinary_permissions(tmp_path: Path) -> None:
    target = tmp_path / "file"
    umask = os.umask(0o027)
    try:
        assert replace_file(target, write) == 3
    finally:
        os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    target.write_bytes(b"old")
    replace_file(target, write)
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("mode", "file", "folder"),
    [
        (0o600, "-rw-------", "drwx------"),
        (0o640, "-rw-r-----", "drwxr-x---"),
        (0o660, "-rw-rw----", "drwxrwx---"),
        (0o644, "-rw-r--r--", "drwxr-xr-x"),
    ],
)
def test_what_is_made_is_open_to_those_who_may_read_the_file(mode: int, file: str, folder: str, tmp_path: Path) -> None:
    def made(name: str) -> tuple[str, str]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
        return tuple(stat.filemode(path.stat().st_mode) for path in (tmp_path / name / "file", tmp_path / name))  # type: ignore[return-value]

    (tmp_path / "settings").touch()
    (tmp_path / "settings").chmod(mode)
    (tmp_path / "closed").touch(0o600)
    before = os.umask(0)
    try:
        with readable_like(tmp_path / "settings"):
            assert made("first") == (file, folder)
            with readable_like(tmp_path / "closed"):
                assert made("both") == ("-rw-------", "drwx------")
            assert made("again") == (file, folder)
        assert made("after") == ("-rw-rw-rw-", "drwxrwxrwx")
    finally:
        os.umask(before)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("oops"), KeyboardInterrupt()])
def test_what_was_there_stays_whatever_fails(tmp_path: Path, error: BaseException) -> None:
    def fail(file: IO[bytes]) -> None:
        file.write(b"half")
        raise error

    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(SourceError if isinstance(error, OSError) else type(error)):
        replace_file(target, fail)
    assert target.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "file")
    replace_file(tmp_path / "link", write)
    replace_file(tmp_path / "link", write)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "elsewhere" / "file").read_bytes() == b"new"
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(SourceError):
        replace_file(tmp_path / "loop", write)


def test_pipes_and_folders_are_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(SourceError, match="no file that could be replaced"):
            replace_file(tmp_path / name, write)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize("whole", [True, False])
def test_of_files_of_one_piece_a_killed_process_leaves_all_or_none(tmp_path: Path, *, whole: bool) -> None:
    """The next command takes the half away; a whole one stays, and its repeat may make it again."""
    (tmp_path / "workspace").mkdir()
    targets = [tmp_path / "a.csv", tmp_path / "b.csv"]
    pid = os.fork()
    if pid == 0:
        with answering(tmp_path / "workspace"), made_together(*targets):
            for target in targets if whole else targets[:1]:
                write_bytes(target, b"x")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    with answering(tmp_path / "workspace"):
        sweep(tmp_path / "workspace", (), ())
        assert [target.exists() for target in targets] == [whole, whole]
        require_free(*targets, replace=False)
    assert list((tmp_path / "workspace").iterdir()) == []
