"""What a worker and the parent say to each other, and the worker's end of their socket.

A worker answers in JSON, and is told by pickle. Its answers are no pickles, since it parses hostile files: a pickle
from a taken-over worker would run code in the parent. Anything that does not fit is a `ValueError`.
"""

from __future__ import annotations

import json
import pickle
import select
import socket
import struct
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

from faceblurd.model import Abandoned, Hashed, Job, Reason, Refused, Region, Staged, Untouched

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from faceblurd.model import Fingerprint, Mode, Recipe

SIZE = struct.Struct("!i")
_MAX_DESCRIPTORS = 2


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker has loaded everything and waits for a job. `sandbox`: what of it is in force."""

    sandbox: str = ""


@dataclass(frozen=True, slots=True)
class SetupFailed:
    """A detector, an engine or a plugin does not load; the worker ends."""

    message: str
    remedy: str


Message = Ready | SetupFailed | Hashed | Staged | Untouched | Abandoned | Refused
_KINDS: dict[str, type[Message]] = {
    kind.__name__: kind for kind in (Ready, SetupFailed, Hashed, Staged, Untouched, Abandoned, Refused)
}
MAX_BYTES = 8 << 20
_SIZE = struct.Struct("!i")
T = TypeVar("T", bound="Message | Region")
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,), "str": (str,), "bool": (bool,), "float": (float, int), "Reason": (Reason,),
    "tuple[Region, ...]": (tuple,),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Order:
    """A job on its way to a worker: small enough for any socket's buffer, so that no send waits for the worker.

    A recipe with thousands of zones is not; workers have all of them since their start, and are told which one.
    """

    id: int
    name: str
    recipe: int
    mode: Mode
    fingerprint: Fingerprint
    output_mtime_ns: int | None
    max_bytes: int

    @classmethod
    def of(cls, job: Job, recipes: Sequence[Recipe]) -> Order:
        """Put a job on its way."""
        return cls(
            job.id, job.name, recipes.index(job.recipe), job.mode, job.fingerprint, job.output_mtime_ns, job.max_bytes
        )  # fmt: skip

    def job(self, recipes: Sequence[Recipe]) -> Job:
        """Give the job again."""
        recipe = recipes[self.recipe]
        return Job(self.id, self.name, recipe, self.mode, self.fingerprint, self.output_mtime_ns, self.max_bytes)


class Frames:
    """Cuts what a worker writes into messages, as they come: it may stop in the middle of one, for good.

    Each has its size, four bytes, before it.
    """

    def __init__(self) -> None:
        """Have nothing yet."""
        self._received = bytearray()

    @property
    def has_part(self) -> bool:
        """Whether a message has begun."""
        return bool(self._received)

    def feed(self, some: bytes) -> Iterator[bytes]:
        """Add bytes; give the messages that are whole. Raises ValueError for one that is longer than `MAX_BYTES`."""
        self._received += some
        while len(self._received) >= _SIZE.size:
            (size,) = _SIZE.unpack_from(self._received)
            if not 0 <= size <= MAX_BYTES:
                raise ValueError(f"a worker's message of {size} bytes")
            end = _SIZE.size + size
            if len(self._received) < end:
                return
            message = bytes(self._received[_SIZE.size : end])
            del self._received[:end]
            yield message


def framed(message: bytes) -> bytes:
    """Put a message's size before it, as `Frames` expects."""
    return _SIZE.pack(len(message)) + message


def encode(message: Message) -> bytes:
    """Write a message."""
    return json.dumps([type(message).__name__, asdict(message)]).encode()


def decode(raw: bytes) -> Message:
    """Read a message. Raises ValueError for anything that no worker of ours would say."""
    try:
        name, fields = json.loads(raw)
        kind = _KINDS[name]
        if "regions" in fields:
            fields["regions"] = tuple(_region(region) for region in fields["regions"])
        if "reason" in fields:
            fields["reason"] = Reason(fields["reason"])
        return _checked(kind(**fields))
    except (KeyError, TypeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not a worker's message: {error}") from error


def _checked(message: T) -> T:
    """Compare each value with its annotation: what comes out of here goes into the ledger and the log."""
    for field in dataclass_fields(message):
        value, kinds = getattr(message, field.name), _TYPES[str(field.type)]
        if type(value) not in kinds or (isinstance(value, float) and not isfinite(value)):
            raise ValueError(f"not a worker's message: {field.name} is {value!r}"[:200])
    return message


def _region(fields: dict[str, object]) -> Region:
    return _checked(Region(**fields))  # type: ignore[arg-type]  # checked right here


def pack(what: object) -> bytes:
    """Write an object for a worker."""
    content = pickle.dumps(what)
    return SIZE.pack(len(content)) + content


class WorkerEnd:
    """Blocks until the parent speaks."""

    def __init__(self, end: socket.socket) -> None:
        """Own a connected socket. A plugin's child must not inherit it: the parent waits for its end."""
        end.set_inheritable(False)
        end.settimeout(None)
        self._socket = end
        self._readable = select.poll()
        self._readable.register(end, select.POLLIN)

    def receive(self) -> tuple[Any, list[int]]:
        """Wait for an object and the descriptors that come with it. Raises EOFError when the parent has gone."""
        head, descriptors, _, _ = socket.recv_fds(self._socket, SIZE.size, _MAX_DESCRIPTORS)
        if not head:
            raise EOFError
        head += self._rest(SIZE.size - len(head))
        return pickle.loads(self._rest(SIZE.unpack(head)[0])), descriptors  # noqa: S301 - from the parent

    def _rest(self, size: int) -> bytes:
        parts = []
        while size > 0:
            part = self._socket.recv(size)
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def send(self, message: Message) -> None:
        """Send a message; waits until the parent has taken it."""
        self._socket.sendall(framed(encode(message)))

    def poll(self, seconds: float) -> bool:
        """Tell whether the parent says something within some seconds."""
        return bool(self._readable.poll(seconds * 1000))
