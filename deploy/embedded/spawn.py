"""Starts a program that ends with its parent, even when the parent is killed with SIGKILL.

Run by path, before anything of the project is imported: `python spawn.py become|hold PARENT PROGRAM ARG...`.
*become* (Linux): the kernel is asked to kill us when the thread that started us ends, and we turn into the
program. *hold* (elsewhere): we stay, have the program as our child, and watch a pipe on standard input
that only the parent holds open: when it closes, the parent is gone.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from types import FrameType

_PR_SET_PDEATHSIG = 1
_PARENT_GONE = 77
"""Exit code: the parent had ended before we could watch it."""


def main(arguments: list[str]) -> int:
    """Become or hold (first argument) the program; the second is the process id that must live on."""
    manner, parent, program = arguments[0], int(arguments[1]), arguments[2:]
    return _hold(program) if manner == "hold" else _become(program, parent)


def _become(program: list[str], parent: int) -> int:
    """Turn into `program`, to be killed when `parent` ends; comes back only if it has ended already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the line above
        return _PARENT_GONE
    quiet = os.open(os.devnull, os.O_RDONLY)
    os.dup2(quiet, 0)
    return os.execvp(program[0], program)  # noqa: S606 - no shell is the point


def _hold(program: list[str]) -> int:
    """Run `program`, pass signals on to it, kill it when standard input closes. Returns its exit code."""
    child = subprocess.Popen(program, stdin=subprocess.DEVNULL)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, pass_on)
    while child.poll() is None:
        readable, _, _ = select.select([0], [], [], 0.2)
        if readable and not os.read(0, 1):
            child.kill()
            child.wait()
            return _PARENT_GONE
    # A shell's way of saying "ended by signal n", which an exit code cannot say otherwise.
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
