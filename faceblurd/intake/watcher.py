"""watchdog to queue: every event is a hint that a path is worth a look, and nothing more.

Owns one observer per root, and knows when it can no longer be trusted (overflow, dead thread). Never raises into
watchdog (an exception in a handler kills its thread for good, watchdog #427, #793), never judges a path.

watchdog swallows IN_Q_OVERFLOW but for a callback that re-walks the tree, which floods the queue again above 10,000
directories; here the callback only sets a flag, and the pipeline starts a *new* observer, rescans, then stops the old
one. That callback is private API, so the dependency is pinned (`watchdog~=7.1.0`) and a flood is a test.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
from watchdog.observers.inotify_c import InotifyFD, WatchDescriptor

from faceblurd.model import Sighting, Source

if TYPE_CHECKING:
    from collections.abc import Callable

# Lean on purpose: the default mask asks for opens and reads too, and drowns in its own walk.
EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileMovedEvent,
    FileClosedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]


class _Group(InotifyWatchGroup):
    """A watch group that reports an overflow instead of walking the tree in the reader's thread."""

    lost_events = False

    def on_queue_overflow(self) -> None:
        self.lost_events = True

    def _remove_watch_internally(self, wd: WatchDescriptor) -> None:
        """Forget a watch whose path may be another one's by now.

        watchdog's own raises KeyError after two folders took each other's names (RENAME_EXCHANGE), before it has told
        its thread to end; whoever joins that thread waits for ever.
        """
        path = self._active_callbacks_by_watch.pop(wd, None)
        if path is not None and self._active_callbacks_by_path.get(path) == wd:
            del self._active_callbacks_by_path[path]


class _Emitter(InotifyEmitter):
    """An emitter whose group is ours."""

    def on_thread_start(self) -> None:
        self._inotify = _Group(
            self._inotify_fd,
            os.fsencode(self.watch.path),
            is_recursive=self.watch.is_recursive,
            event_mask=self.get_event_mask_from_filter(),
            follow_symlink=False,
        )

    @property
    def lost_events(self) -> bool:
        return isinstance(self._inotify, _Group) and self._inotify.lost_events

    @property
    def watched_directories(self) -> int:
        group = self._inotify
        return 0 if group is None else len(group._active_callbacks_by_watch)  # noqa: SLF001 - see the module docstring


class _Observer(BaseObserver):
    """An observer with an inotify instance of its own, so that one root's overflow is that root's alone."""

    def __init__(self) -> None:
        self._inotify_fd = InotifyFD()
        self._inotify_fd.start()
        super().__init__(_Emitter, timeout=1.0, inotify_fd=self._inotify_fd)

    def on_thread_stop(self) -> None:
        super().on_thread_stop()
        self._inotify_fd.stop()
        self._inotify_fd.join()

    @property
    def reader_alive(self) -> bool:
        return self._inotify_fd.is_alive()

    @property
    def own_emitters(self) -> list[_Emitter]:
        return [emitter for emitter in list(self.emitters) if isinstance(emitter, _Emitter)]


class _Handler(FileSystemEventHandler):
    """Turn events into sightings; a failure is counted, never raised."""

    def __init__(self, root: str, enqueue: Callable[[Sighting], None]) -> None:
        self._root = root
        self._prefix = root.rstrip("/") + "/"
        self._enqueue = enqueue
        self.failures = 0

    def dispatch(self, event: FileSystemEvent) -> None:
        try:
            self._note(event)
        except Exception:  # noqa: BLE001 - isolation point: watchdog's thread must outlive any bug of ours
            self.failures += 1

    def _note(self, event: FileSystemEvent) -> None:
        if event.is_directory and not isinstance(event, DirDeletedEvent):
            return  # watchdog reports what is in it, file by file
        moved = isinstance(event, FileMovedEvent)
        path = os.fsdecode(event.dest_path if moved else event.src_path)
        if path.startswith(self._prefix):
            self._enqueue(Sighting(self._root, path[len(self._prefix) :], Source.EVENT))


class Watcher:
    """Watches one root until it is stopped."""

    def __init__(self, root: str, enqueue: Callable[[Sighting], None]) -> None:
        """Prepare to watch `root`; `enqueue` is called from watchdog's thread and must not block."""
        self._handler = _Handler(root, enqueue)
        self._root = root
        self._observer: _Observer | None = None

    def start(self) -> None:
        """Start to watch. Raises OSError when the root cannot be watched (gone, watch limit, instance limit)."""
        observer = _Observer()
        try:
            observer.schedule(self._handler, self._root, recursive=True, event_filter=EVENTS)
            observer.start()
        except BaseException:
            observer._inotify_fd.stop()  # noqa: SLF001 - our own attribute
            raise
        self._observer = observer

    def stop(self) -> None:
        """Stop; safe to call twice."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    @property
    def failures(self) -> int:
        """How often our own handler failed: each time a path may have been missed."""
        return self._handler.failures

    @property
    def healthy(self) -> bool:
        """Whether every event since the start has reached us, as far as can be known."""
        observer = self._observer
        if observer is None or not observer.is_alive() or not observer.reader_alive:
            return False
        emitters = observer.own_emitters
        return bool(emitters) and all(emitter.is_alive() and not emitter.lost_events for emitter in emitters)

    @property
    def watched_directories(self) -> int:
        """How many directories the kernel watches for us; fewer than there are means degraded."""
        observer = self._observer
        return 0 if observer is None else sum(emitter.watched_directories for emitter in observer.own_emitters)
