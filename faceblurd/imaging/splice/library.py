"""The compiled bit loop as a library: whether it is here, and why not.

Imports no numpy, so that the parent process may ask. A library that is missing, or was built for another machine, is no
error: `fallback` gives the same bits.
"""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any, Final

FILE: str = "_splice.so"
_VERSION: Final = 1


def available() -> str | None:
    """Return None when the compiled loop works here, otherwise the reason for people."""
    found = load()
    return found if isinstance(found, str) else None


@functools.cache
def load() -> Any:  # noqa: ANN401 - a library, or the reason why there is none
    """Load the library once; return the reason instead where that fails."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), FILE)
    if not os.path.exists(path):
        return "it was installed without a C compiler"
    try:
        library = ctypes.CDLL(path)  # a function of ctypes.CDLL runs without the interpreter's lock
        for name in ("fb_version", "fb_table_size", "fb_stream_size"):
            getattr(library, name).restype = ctypes.c_uint64
        for name in ("fb_unstuff", "fb_table", "fb_stream", "fb_walk", "fb_write"):
            getattr(library, name).restype = ctypes.c_int64
        version = library.fb_version()
    except (OSError, AttributeError) as error:
        return f"the library does not load: {error}"
    return library if version == _VERSION else f"the library is of version {version}, not {_VERSION}"
