"""What a process has to do before anything else: whole standard streams, and a parent that can always end.

A thread that hangs in a call to a dead share cannot be killed, and a process with such a thread cannot end. So every
command that ends by itself works in a child, and its parent ends when the child says that it is done, whether the child
can or not.

A container's first process (PID 1) differs from all others. Signals that it does not handle do nothing, so a stop in
the first half second would be lost; and it is the parent of every process whose own parent has ended (what a hook
command leaves behind), which stay as zombies until it asks for them. So PID 1 becomes a small init in the same way: it
hands signals on, reaps, and ends with its child, which is the faceblurd that does the work. Loads nothing that is not
loaded anyway.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGSYS}
_OF_TERMINALS = {signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP}
_HANDED_ON = {*signal.valid_signals()} - {*_FAULTS, *_OF_TERMINALS, signal.SIGKILL, signal.SIGSTOP}
_GRACE_SECONDS = 2.0  # for the interpreter's own end
_PR_SET_PDEATHSIG = 1

_said: int | None = None  # where the child says that it is done


def prepare() -> None:
    """Do it; returns in the process that goes on with the command."""
    _open_streams()
    if os.getpid() == 1 or _ends(sys.argv[1:2]):
        _work_in_a_child()
    if sys.argv[1:2] == ["run"]:  # it reads its config later, so nothing is lost; a default would end it
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _open_streams() -> None:
    """Open /dev/null where a standard stream is closed (`2>&-`).

    Else the next file that is opened would get that number, and whoever writes messages there would write into it.
    """
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        null = os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
        if null != fd:
            os.dup2(null, fd)
            os.close(null)
        os.set_inheritable(fd, True)  # noqa: FBT003 - workers and hooks have standard streams, too
        stream = open(fd, "w" if fd else "r", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 - for as long as we run
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _ends(command: list[str]) -> bool:
    """Say whether a command ends by itself: systemd watches the very process of one that does not."""
    return command not in ([], ["run"]) and not command[0].startswith("-")


def ended(code: object) -> None:
    """Tell the parent that the work is done, and with which code; from here on it waits no longer than a moment."""
    if _said is None:
        return
    for fd, stream in enumerate((sys.stdout, sys.stderr), 1):
        with suppress(OSError, ValueError):  # the interpreter will say so, once more
            stream.flush()
            give_up(fd)
    with suppress(OSError):
        os.write(_said, bytes([code & 0xFF if isinstance(code, int) else code is not None]))
        os.kill(os.getppid(), signal.SIGCHLD)


def give_up(fd: int) -> None:
    """Leave a stream: who reads a pipe (`| jq`) waits until nobody may write into it, also not a child that hangs."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)


def _work_in_a_child() -> None:
    """Fork; the child returns, with signals as they were. A signal that comes in between waits: it is blocked."""
    global _said  # noqa: PLW0603 - of this process, as its streams are
    parent, before = os.getpid(), signal.pthread_sigmask(signal.SIG_BLOCK, _HANDED_ON)
    says, said = os.pipe()
    try:
        child = os.fork()
    except OSError:  # no more processes are allowed: then all is done in this one
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    if child == 0:
        _end_with(parent)
        os.close(says)
        _said = said
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    os.close(said)
    os.set_blocking(says, False)
    while True:
        found = signal.sigwaitinfo(_HANDED_ON)
        if found.si_signo == signal.SIGCHLD:
            _reap(child)
            _leave_behind(child, says)
        elif found.si_code <= 0:  # from a process; what comes from the terminal (Ctrl-C), the child has got as well
            with suppress(ProcessLookupError):
                os.kill(child, found.si_signo)


def _end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent is killed: who ends the command means all of it."""
    import ctypes  # noqa: PLC0415 - only here

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before prctl was called
        os._exit(128 + signal.SIGKILL)


def _leave_behind(child: int, says: int) -> None:
    """End without the child, where that is done and cannot end."""
    with suppress(BlockingIOError):
        if code := os.read(says, 1):
            signal.sigtimedwait({signal.SIGCHLD}, _GRACE_SECONDS)
            _reap(child)
            os._exit(code[0])


def _reap(child: int) -> None:
    """Ask for every process that has ended, and end with the child, as it did."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                code = os.waitstatus_to_exitcode(ended[1])
                os._exit(code if code >= 0 else 128 - code)
