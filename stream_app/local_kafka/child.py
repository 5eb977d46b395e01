"""Child processes that end with their parent: how the Java of a local Kafka is spawned, signalled and recognised.

In: a command line. Out: a process in a session of its own (Ctrl-C in the terminal reaches the parent alone, which then
stops its brokers in order). It must not know what the command is.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO

# Asks the kernel for SIGKILL when the parent's thread ends, makes sure the parent is not gone already, then becomes
# the command itself, so the process id is the command's. PR_SET_PDEATHSIG is 1 in linux/prctl.h.
_DIE_WITH_PARENT = """\
import ctypes, os, signal, sys
parent, *command = sys.argv[1:]
ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(parent):
    sys.exit("the parent ended before its child began")
os.execv(command[0], command)
"""

_Spawn = Callable[[], subprocess.Popen[bytes]]


def spawn(
    command: Sequence[str], *, output: IO[bytes], folder: Path, is_bound_to_parent: bool
) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, its stdout and stderr in `output`.

    Args:
        command: absolute path of the executable, then its arguments.
        output: an open file.
        folder: working directory.
        is_bound_to_parent: the kernel kills the child (SIGKILL) when this process ends, however it ends.
    """
    if is_bound_to_parent:
        command = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )

    return _on_lasting_thread(start) if is_bound_to_parent else start()


def end(process: subprocess.Popen[bytes], *, grace_s: float) -> None:
    """Ask the process to end (SIGTERM, and SIGCONT in case it is stopped), after `grace_s` seconds kill it."""
    if process.poll() is None:
        process.terminate()
        process.send_signal(signal.SIGCONT)
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class _LastingThread:
    """One daemon thread that lives as long as the process.

    The kernel's parent-death signal follows the *thread* that spawned the child: a broker started from a worker thread
    would be killed when that worker ends.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[_Spawn, Future[subprocess.Popen[bytes]]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="local-kafka-spawner", daemon=True).start()

    def call(self, function: _Spawn) -> Future[subprocess.Popen[bytes]]:
        future: Future[subprocess.Popen[bytes]] = Future()
        self._calls.put((function, future))
        return future

    def _run(self) -> None:
        while True:
            function, future = self._calls.get()
            try:
                future.set_result(function())
            except OSError as error:
                future.set_exception(error)


_threads: dict[int, _LastingThread] = {}
_threads_lock = threading.Lock()


def _on_lasting_thread(function: _Spawn) -> subprocess.Popen[bytes]:
    with _threads_lock:
        # By process id: a forked child has no copy of its parent's threads.
        thread = _threads.get(os.getpid()) or _threads.setdefault(os.getpid(), _LastingThread())
    future = thread.call(function)
    try:
        return future.result()
    except OSError:
        raise
    except BaseException:
        # Ctrl-C while waiting: the thread spawns all the same, and nobody would ever stop that broker.
        process = future.result()
        process.kill()
        process.wait()
        raise
