"""What a process has to do before anything else: whole standard streams, and the duties of a first process.

A container's first process (PID 1) differs from all others. Signals that it does not handle do nothing, so a stop in
the first half second would be lost; and it is the parent of every process whose own parent has ended (what a hook
command leaves behind), which stay as zombies until it asks for them. So PID 1 becomes a small init: it hands signals
on, reaps, and ends with its child, which is the faceblurd that does the work. Loads nothing that is not loaded anyway.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGSYS}
_OF_TERMINALS = {signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP}
_HANDED_ON = {*signal.valid_signals()} - {*_FAULTS, *_OF_TERMINALS, signal.SIGKILL, signal.SIGSTOP}


def prepare() -> None:
    """Do it; returns in the process that goes on with the command."""
    _open_streams()
    if os.getpid() == 1:
        _become_init()
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


def _become_init() -> None:
    """Fork; the child returns, with signals as they were. A signal that comes in between waits: it is blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDED_ON)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    while True:
        found = signal.sigwaitinfo(_HANDED_ON)
        if found.si_signo == signal.SIGCHLD:
            _reap(child)
        elif found.si_code <= 0:  # from a process; what comes from the terminal (Ctrl-C), the child has got as well
            with suppress(ProcessLookupError):
                os.kill(child, found.si_signo)


def _reap(child: int) -> None:
    """Ask for every process that has ended, and end with the child, as it did."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                code = os.waitstatus_to_exitcode(ended[1])
                os._exit(code if code >= 0 else 128 - code)
