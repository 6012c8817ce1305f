"""What a worker says to the parent, as JSON.

The other direction is pickled by multiprocessing. This one is not: a worker parses hostile files, and a pickle from a
taken-over worker would run code in the parent. Anything that does not fit is a `ValueError`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from math import isfinite
from typing import TypeVar

from faceblurd.model import Abandoned, Hashed, Reason, Refused, Region, Staged, Untouched


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
T = TypeVar("T", bound="Message | Region")
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,), "str": (str,), "bool": (bool,), "float": (float, int), "Reason": (Reason,),
    "tuple[Region, ...]": (tuple,),
}  # fmt: skip


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
