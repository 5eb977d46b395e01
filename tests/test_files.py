"""Files and folders are there whole or not at all, and what a killed writer left goes with the next one."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stream_app.files import new_folder, open_below, whole_file, write_below, write_whole

#: Writers that are killed when all is written but the name.
_KILLED = {
    "a file": "files.write_whole(out, b'1')",
    "one file of many": "files.write_below(out.parent, out.name, b'1')",
}


def _kill_while(writing: str, out: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from stream_app import files; out = Path(sys.argv[1]); "
        f"Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL); {writing}"
    )
    done = subprocess.run([sys.executable, "-c", program, str(out)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("writing", _KILLED.values(), ids=_KILLED)
def test_a_killed_writer_of_a_file_leaves_a_draft_that_the_next_one_removes(writing: str, tmp_path: Path) -> None:
    others = [tmp_path / name for name in (".a.txt.notes", ".b.txt.abcdefgh.draft")]
    for other in others:
        other.write_bytes(b"theirs")
    out = tmp_path / "a.txt"
    _kill_while(writing, out)
    assert len([*tmp_path.iterdir()]) == 1 + len(others), "a kill leaves a draft"
    if "below" in writing:
        open_below(tmp_path)
        write_below(tmp_path, out.name, b"2")
    else:
        with whole_file(out) as file:
            file.write(b"2")
    assert sorted(tmp_path.iterdir()) == sorted([out, *others])
    assert out.read_bytes() == b"2"


def test_a_draft_whose_writer_lives_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "site" / "1"
    program = (
        "import sys; from pathlib import Path; from stream_app.files import new_folder\n"
        "with new_folder(Path(sys.argv[1])) as draft:\n"
        "    (draft / 'a').write_bytes(b'theirs')\n"
        "    print('begun', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"begun\n"
        (draft,) = out.parent.iterdir()
        with contextlib.suppress(KeyboardInterrupt), new_folder(out):
            raise KeyboardInterrupt
        assert [*out.parent.iterdir()] == [draft]
        assert (draft / "a").read_bytes() == b"theirs"
        writer.communicate()
    assert writer.returncode == 0
    assert (out / "a").read_bytes() == b"theirs"


def test_a_draft_of_a_file_whose_writer_lives_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "a"
    with whole_file(out) as slow:
        slow.write(b"slow")
        write_whole(out, b"quick")
        assert out.read_bytes() == b"quick"
    assert out.read_bytes() == b"slow"
    assert [*tmp_path.iterdir()] == [out]


def test_one_file_of_many_is_left_alone_while_its_writer_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def look_again(draft: Path, out: Path) -> Path:
        open_below(tmp_path)
        return replace(draft, out)

    monkeypatch.setattr(Path, "replace", look_again)
    write_below(tmp_path, "a", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"


def test_an_error_on_the_way_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "a"
    write_whole(out, b"old")
    with contextlib.suppress(KeyboardInterrupt), whole_file(out) as file:
        file.write(b"new")
        raise KeyboardInterrupt
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]


@pytest.mark.parametrize("is_there", [{"victim"}, set()], ids=["leads to a file", "leads nowhere"])
def test_a_link_that_lies_there_is_replaced_and_not_followed(tmp_path: Path, is_there: set[str]) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "out"
    folder.mkdir()
    for _ in is_there:
        victim.write_bytes(b"precious")
    (folder / "evidence.json").symlink_to(victim)
    write_below(folder, "evidence.json", b"new")
    assert (folder / "evidence.json").read_bytes() == b"new"
    assert not (folder / "evidence.json").is_symlink()
    assert victim.exists() == bool(is_there)
    assert not is_there or victim.read_bytes() == b"precious"
    assert [path.name for path in folder.iterdir()] == ["evidence.json"]


def test_a_file_that_cannot_be_written_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "evidence.json").mkdir()
    with pytest.raises(IsADirectoryError):
        write_below(tmp_path, "evidence.json", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["evidence.json"]
