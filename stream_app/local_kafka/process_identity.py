"""Recognise a process of an earlier command, so that only that one is ever signalled.

A process id alone is not enough: after a reboot or a crash it may belong to anybody. In: a process id. Out: a mark that
no other process bears (boot and start time), and a safe way to end its bearer.
"""

import os
import select
import signal
from pathlib import Path

import msgspec


class ProcessMark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A process that was started once: its id, the machine's boot, its start in clock ticks since then.

    The command is for whoever reads the file: it is not compared, for it is empty while a process is only beginning
    (exec(2) under way), and a process may change it.
    """

    pid: int
    boot_id: str
    start_ticks: int
    command: str


def mark_process(pid: int) -> ProcessMark | None:
    """Return the mark of a process that runs now, None where there is none (a zombie counts as none)."""
    try:
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        # The second field, the name in brackets, may itself hold blanks and brackets (proc(5)).
        state, *fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if state == "Z":
        return None
    return ProcessMark(pid=pid, boot_id=boot_id, start_ticks=int(fields[18]), command=command)


def is_alive(mark: ProcessMark) -> bool:
    """Tell whether the marked process, and not a later one of the same id, runs."""
    found = mark_process(mark.pid)
    return found is not None and msgspec.structs.replace(found, command=mark.command) == mark


def end_marked(mark: ProcessMark, *, grace_s: float) -> bool:
    """End the marked process: SIGTERM, after `grace_s` seconds SIGKILL; return only when it is gone.

    Returns:
        False where it was gone before; then nothing was signalled.
    """
    try:
        handle = os.pidfd_open(mark.pid)
    except ProcessLookupError:
        return False
    try:
        # Checked after the handle was opened: from here on the id cannot come to mean another process.
        if not is_alive(mark):
            return False
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, grace_s)):
            signal.pidfd_send_signal(handle, number)
            signal.pidfd_send_signal(handle, signal.SIGCONT)
            if _ended_within(handle, wait_s):
                break
    except ProcessLookupError:
        pass  # It ended by itself between two signals.
    finally:
        os.close(handle)
    return True


def _ended_within(handle: int, wait_s: float) -> bool:
    readable, _, _ = select.select([handle], [], [], wait_s)
    return bool(readable)
