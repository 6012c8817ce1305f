"""Seccomp: refuses system calls that looking at a photo does not need, in all threads of this process.

Owns the list and the filter program. A list of what is forbidden, since Python, OpenCV and TensorFlow need some hundred
calls, and others with each release. Refused calls fail with EPERM: a library's try is an error, and no crash.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

Step = tuple[int, int, int, int]
"""One instruction: code, jump if true, jump if false, constant."""
_Call = tuple[int | None, int | None]

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""The column in the tables below, and the kernel's AUDIT_ARCH."""

# Each line: name, number on x86_64, number on aarch64; - where there is none. Numbers never change.
_FORBIDDEN = """
socket 41 198  connect 42 203  bind 49 200  listen 50 201
execve 59 221  execveat 322 281  fork 57 -  vfork 58 -
ptrace 101 117  process_vm_readv 310 270  process_vm_writev 311 271  kcmp 312 272  process_madvise 440 440
pidfd_open 434 434  pidfd_getfd 438 438  pidfd_send_signal 424 424  tkill 200 130  rt_sigqueueinfo 129 138
rt_tgsigqueueinfo 297 240  process_mrelease 448 448  migrate_pages 256 238  move_pages 279 239
io_uring_setup 425 425  bpf 321 280  perf_event_open 298 241  userfaultfd 323 282
keyctl 250 219  add_key 248 217  request_key 249 218
kexec_load 246 104  kexec_file_load 320 294  init_module 175 105  finit_module 313 273  delete_module 176 106
mount 165 40  umount2 166 39  pivot_root 155 41  chroot 161 51  unshare 272 97  setns 308 268  open_tree 428 428
move_mount 429 429  fsopen 430 430  fsconfig 431 431  fsmount 432 432  fspick 433 433  mount_setattr 442 442
open_by_handle_at 304 265  creat 85 -  truncate 76 45  inotify_init 253 -  inotify_init1 294 26  fanotify_init 300 262
unlink 87 -  unlinkat 263 35  rename 82 -  renameat 264 38  renameat2 316 276  rmdir 84 -  mkdir 83 -  mkdirat 258 34
link 86 -  linkat 265 37  symlink 88 -  symlinkat 266 36  mknod 133 -  mknodat 259 33
chmod 90 -  fchmod 91 52  fchmodat 268 53  fchmodat2 452 452  chown 92 -  fchown 93 55  lchown 94 -  fchownat 260 54
setxattr 188 5  lsetxattr 189 6  fsetxattr 190 7  setxattrat 463 463
removexattr 197 14  lremovexattr 198 15  fremovexattr 199 16  removexattrat 466 466  file_setattr 469 469
utime 132 -  utimes 235 -  futimesat 261 -
shmget 29 194  msgget 68 186  semget 64 190  mq_open 240 180  personality 135 92  setpriority 141 140  ioprio_set 251 30
settimeofday 164 170  clock_settime 227 112  clock_adjtime 305 266  adjtimex 159 171
sethostname 170 161  setdomainname 171 162  iopl 172 -  ioperm 173 -  quotactl_fd 443 443  shmat 30 196
setrlimit 160 164  reboot 169 142  swapon 167 224  swapoff 168 225  acct 163 89  quotactl 179 60  syslog 103 116
"""
_UNKNOWN = "clone3 435 435  openat2 437 437"
"""Their flags lie in memory, which a filter cannot read. ENOSYS: the libraries then use clone and openat."""

_CLONE, _CLONE_THREAD = (56, 220), 0x10000
_OPEN: tuple[tuple[_Call, int], ...] = (
    ((2, None), 1),
    ((257, 56), 2),
)  # open and openat, and which argument holds the flags
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_SIGNALS: tuple[_Call, ...] = ((62, 129), (234, 131))  # kill, tgkill
_SCHEDULING: tuple[_Call, ...] = ((203, 122), (144, 119), (142, 118), (314, 274))  # sched_set: affinity, scheduler...
_PRLIMIT, _UTIMENSAT, _IOCTL, _FCNTL = (302, 261), (280, 88), (16, 29), (72, 25)
_IOCTLS = (0x5450, 0x5451, 0x541B, 0x5401, 0x5413)  # close-on-exec, bytes to read, "is it a terminal?", its size
_FCNTLS = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: they let the kernel send signals to others

_ALLOW, _REFUSE, _NO_SUCH_CALL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_X32 = 0x40000000
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER, _FLAG_TSYNC = 1, 1


def restrict() -> None:
    """Load the filter into every thread of this process. PR_SET_NO_NEW_PRIVS must be set.

    Raises OSError: ENOSYS or EINVAL where the kernel or the architecture has no filter.
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"no filter for {machine}")
    steps = program(machine, os.getpid())
    code = b"".join(struct.pack("=HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("@HP", len(steps), ctypes.addressof(buffer))  # struct sock_fprog
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(_SECCOMP[machine], _SET_MODE_FILTER, _FLAG_TSYNC, header)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if result > 0:
        raise OSError(errno.ESRCH, f"thread {result} has a filter of its own")


def forbidden(machine: str) -> dict[str, int]:
    """Give the numbers of the calls that are always refused, by name."""
    return _column(_FORBIDDEN, _ARCHITECTURES[machine][0])


def program(machine: str, pid: int) -> list[Step]:
    """Assemble the filter (classic BPF) for the process `pid`."""
    column, arch = _ARCHITECTURES[machine]
    steps = [_load(4), _skip_if(_EQUAL, arch), _return(_REFUSE), _load(0)]  # 32-bit calls have other numbers
    steps += [(_AT_LEAST, 0, 1, _X32), _return(_REFUSE)]
    for table, answer in ((_FORBIDDEN, _REFUSE), (_UNKNOWN, _NO_SUCH_CALL)):
        for each in _column(table, column).values():
            steps += _on(each, [_return(answer)])
    for numbers, block in _conditions(pid):
        number = numbers[column]
        if number is not None:
            steps += _on(number, block)
    return [*steps, _return(_ALLOW)]


def _conditions(pid: int) -> list[tuple[_Call, list[Step]]]:
    """Name the calls that depend on an argument."""
    no_owner = [step for command in _FCNTLS for step in _on(command, [_return(_REFUSE)])]
    return [
        *((call, _only(0, (pid,))) for call in _SIGNALS),
        *((call, [_argument(place), (_ANY_BIT, 0, 1, _WRITING), _return(_REFUSE), _allow()]) for call, place in _OPEN),
        # Its own limits may be read, not changed: root may raise even those that are meant to be final.
        (_PRLIMIT, [_argument(0), _skip_if(_EQUAL, 0), _return(_REFUSE), *_only_null(2)]),
        *((call, _only(0, (0, pid))) for call in _SCHEDULING),
        (_IOCTL, _only(1, _IOCTLS)),
        (_FCNTL, [_argument(1), *no_owner, _allow()]),
        (_UTIMENSAT, _only_null(1)),  # of an open file, not by name
        (_CLONE, [_argument(0), (_ANY_BIT, 1, 0, _CLONE_THREAD), _return(_REFUSE), _allow()]),
    ]


def _only(place: int, values: tuple[int, ...]) -> list[Step]:
    """Allow a call with one of these values; the kernel, too, looks at the lower 32 bits of such an argument only."""
    return [_argument(place), *(step for value in values for step in _on(value, [_allow()])), _return(_REFUSE)]


def _only_null(place: int) -> list[Step]:
    upper = _load(16 + 8 * place + 4)
    return [_argument(place), (_EQUAL, 0, 2, 0), upper, _skip_if(_EQUAL, 0), _return(_REFUSE), _allow()]


def _on(value: int, block: list[Step]) -> list[Step]:
    """Run a block, which returns, when the accumulator holds `value`."""
    return [(_EQUAL, 0, len(block), value), *block]


def _skip_if(test: int, value: int) -> Step:
    return (test, 1, 0, value)


def _argument(place: int) -> Step:
    return _load(16 + 8 * place)  # struct seccomp_data, little-endian


def _load(offset: int) -> Step:
    return (_LOAD, 0, 0, offset)


def _return(what: int) -> Step:
    return (_RETURN, 0, 0, what)


def _allow() -> Step:
    return _return(_ALLOW)


def _column(table: str, column: int) -> dict[str, int]:
    words = table.split()
    triples = zip(words[::3], words[1::3], words[2::3], strict=True)
    return {name: int(pair[column]) for name, *pair in triples if pair[column] != "-"}
