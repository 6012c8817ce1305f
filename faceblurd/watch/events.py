"""inotify to hints: every event says that a path is worth a look, and nothing more.

Owns one inotify instance per root, so that one root's overflow is that root's alone, and knows when it can no longer
be trusted: events were lost, the root went, the thread died. Never judges a path, and never raises into watchdog's
reader (an exception ends its thread for good, watchdog #427, #793).

watchdog's answer to an overflow is to walk the tree in the reader's thread, which floods the queue again above 10,000
directories; here it only sets a flag, and the root starts a *new* watcher, rescans, then stops the old one. The reader
is private API, so the dependency is pinned (`watchdog~=7.1.0`) and a flood is a test.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, InotifyFD, WatchCallback, WatchDescriptor

from faceblurd.model import Sighting, Source
from faceblurd.watch.watches import Directory, Watches

if TYPE_CHECKING:
    from collections.abc import Callable

    from faceblurd.rules.filter import Selection

_ROOT_GONE: Final = InotifyConstants.IN_MOVE_SELF | InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_UNMOUNT
_LEFT: Final = InotifyConstants.IN_DELETE | InotifyConstants.IN_MOVED_FROM
MAX_HINTS = 50_000  # some 10 MB


class _Listener(WatchCallback):
    """What watchdog's reader calls: turns events into sightings. A failure is counted, never raised."""

    def __init__(self, root: str, selection: Selection, enqueue: Callable[[Sighting], None], reader: InotifyFD) -> None:
        self._root, self._selection, self._enqueue = root, selection, enqueue
        self._lock = threading.Lock()  # the reader's thread against `begin` and `close`, which are the root's
        self.watches = Watches(root, selection, reader, self)
        self.lost_events = False
        self.root_gone = False
        self.failures = 0

    def begin(self) -> None:
        """Watch the root and all below it. Raises OSError when the root itself cannot be watched."""
        with self._lock:
            self.watches.watch_root()
            self._watch_all()

    def watch_missing(self) -> None:
        """Try again to watch what could not be watched."""
        with self._lock:
            self.watches.problem = ""
            self._watch_all()

    def _watch_all(self) -> None:
        for _ in self.watches.walk(self.watches.root):
            pass  # files are the scan's

    def close(self) -> None:
        """Hear nothing more; returns when no event is in hand."""
        self.watches.closed = True
        with self._lock:
            return

    def on_queue_overflow(self) -> None:
        self.lost_events = True

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        with self._lock:
            directory = None if self.watches.closed else self.watches.at(wd)
            if directory is not None:
                self.root_gone = self.root_gone or directory is self.watches.root
                self.watches.drop(directory)

    def on_event(self, event: InotifyEvent) -> None:
        with self._lock:
            if self.watches.closed or self.root_gone:  # what it was called is not its name any more
                return
            try:
                self._note(event)
            except Exception:  # noqa: BLE001 - isolation point: watchdog's thread must outlive any bug of ours
                self.failures += 1

    def _note(self, event: InotifyEvent) -> None:
        directory = self.watches.at(event.wd)
        if directory is None:
            return  # it left while the event was under way
        if event.mask & _ROOT_GONE:
            self.root_gone = self.root_gone or directory is self.watches.root
        elif not event.mask & InotifyConstants.IN_ISDIR:
            self._sight(directory.path_of(event.name))
        elif event.mask & (InotifyConstants.IN_CREATE | InotifyConstants.IN_MOVED_TO):
            self._enter(directory, event.name)
        elif event.mask & _LEFT:  # pragma: no branch - nothing else is asked for of a directory
            self._leave(directory, event.name)

    def _enter(self, parent: Directory, name: bytes) -> None:
        """Watch a directory that has come, and report what is in it: it came before the watch."""
        known = parent.below.get(name)
        came = self.watches.watch(parent, name)
        if came is None or came is known:  # the walk that found its parent was here
            return
        for path in self.watches.walk(came):
            self._sight(path)

    def _leave(self, parent: Directory, name: bytes) -> None:
        """Watch a directory no longer that has gone, and report it under the name that it had."""
        gone = parent.below.get(name)
        if gone is not None:
            self.watches.drop(gone)
        path = parent.path_of(name)
        if self._selection.of_folder(os.fsdecode(path)) is None:
            self._sight(path)

    def _sight(self, path: bytes) -> None:
        try:
            self._enqueue(Sighting(self._root, os.fsdecode(path), Source.EVENT))
        except Exception:  # noqa: BLE001 - isolation point: one path that fails must not cost those after it
            self.failures += 1


class Watcher:
    """Watches one root until it is stopped."""

    def __init__(self, root: str, selection: Selection, enqueue: Callable[[Sighting], None]) -> None:
        """Prepare to watch `root`; `enqueue` is called from watchdog's thread and must not block.

        It gets paths that came, changed or went; for a directory that went, the directory's own path.
        """
        self._root, self._selection, self._enqueue = root, selection, enqueue
        self._reader: InotifyFD | None = None
        self._listener: _Listener | None = None

    def start(self) -> None:
        """Start to watch. Raises OSError when the root cannot be watched (gone, watch limit, instance limit)."""
        self._reader = InotifyFD()
        self._listener = _Listener(self._root, self._selection, self._enqueue, self._reader)
        self._reader.start()
        try:
            self._listener.begin()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop; safe to call twice."""
        if self._reader is not None and self._listener is not None:
            self._listener.close()
            self._reader.stop()
            self._reader.join()
            self._reader = None

    def watch_missing(self) -> None:
        """Try again to watch what could not be watched: a limit was raised, a permission given."""
        if self._reader is not None and self._listener is not None:
            self._listener.watch_missing()

    @property
    def failures(self) -> int:
        """How often our own handler failed: each time a path may have been missed."""
        return 0 if self._listener is None else self._listener.failures

    @property
    def healthy(self) -> bool:
        """Whether every event since the start has reached us, as far as can be known, and the root is where it was."""
        if self._reader is None or self._listener is None or not self._reader.is_alive():
            return False
        return not self._listener.lost_events and not self._listener.root_gone

    @property
    def watched_directories(self) -> int:
        """How many directories the kernel watches for us; fewer than there are means degraded."""
        return 0 if self._reader is None or self._listener is None else len(self._listener.watches)

    @property
    def problem(self) -> str:
        """Why a directory is not watched that should be; empty when none is known."""
        return "" if self._listener is None else self._listener.watches.problem


class Hints:
    """Put in by any thread, taken out by the loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hints wake tasks of this loop."""
        self._loop = loop
        self._paths: deque[str] = deque()
        self._news = asyncio.Event()
        self._is_told = False  # the loop is about to look
        self.dropped = False

    def put(self, sighting: Sighting) -> None:
        """Add a hint; never blocks."""
        if len(self._paths) >= MAX_HINTS:
            self.dropped = True
        else:
            self._paths.append(sighting.path)
        if not self._is_told:
            self._is_told = True
            with suppress(RuntimeError):  # the loop has closed
                self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._is_told = False
        self._news.set()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._paths)

    async def take(self, most: int) -> list[str]:
        """Wait for hints; give at most `most` of them, oldest first, each path once. None where some were dropped."""
        while not self._paths and not self.dropped:
            self._news.clear()
            await self._news.wait()
        taken = [self._paths.popleft() for _ in range(min(most, len(self._paths)))]
        return list(dict.fromkeys(taken))
