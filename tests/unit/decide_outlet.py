"""A model of the outlet, step by step, over the model of the disk: `delivery`, `publisher` and `recovery`.

Intent, staging, output digest, exchange or link, look, unlink, fsync, record; and the recovery after an end in
between.

Not in the model: hard links, suspended roots, hooks; file systems without RENAME_EXCHANGE (their race is documented);
a program that opens a result in the moment between an exchange and the look at what came out, and writes into it after
that look. A write that keeps a file's time shows by its size; since all files of the model have one size, a write is
told by the content where the outlet compares size and time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from faceblurd.model import Entry, Fingerprint, Intent, Reason, State
from faceblurd.rules import decide

if TYPE_CHECKING:
    from collections.abc import Generator

    from decide_waiting import File
    from decide_world import Inode, World

    from faceblurd.engine.model import RootPlan
    from faceblurd.ledger.ledger import Ledger

    Steps = Generator[str, str, None]
    Plan = decide.Finish | decide.Redo | decide.Restore | decide.SetAside

PARENT, WORKER, ANSWER = "parent", "worker", "answer"


@dataclass(eq=False, slots=True)
class Job:
    """A file in hand: its open source, its staging file (`name`: while it has one), the intent in the ledger."""

    file: File
    inode: Inode
    fingerprint: Fingerprint
    intent: Intent
    staging: Inode
    name: str | None
    digest: str | None = None
    output: str = "partial"
    change: int = 0  # which one of the tree's changes gave the result its name


class Outlet:
    """What the daemon does to the disk and, about it, to the ledger."""

    world: World
    ledger: Ledger
    plan: RootPlan
    in_place: bool
    _recipe: str

    def _unlink(self, name: str, known: set[str | None]) -> None:
        """Remove a name: never that of something that was not read."""
        inode = self.world.target[name]
        assert inode.writers == 0, "removed while somebody writes to it"
        assert inode.content in known, f"removed unread: {inode.content}"
        self.world.unlink(name)

    # --- outlet.delivery and outlet.publisher

    def _deliver(self, job: Job, known: Entry | None) -> Generator[str, str, Fingerprint | str]:
        name = f".faceblurd-{job.intent.token}.tmp"
        job.intent = replace(job.intent, input_digest=job.digest, output_digest=job.output)
        self.ledger.begin(job.intent)
        yield PARENT
        if not self.in_place and not self._source_is_what_was_read(job):
            return "newer"
        expected, digest = job.fingerprint, job.digest
        if not self.in_place:
            ours = known is not None and self._has_result(known)
            expected = self.world.print_at(self.world.target, job.file.path) if ours else None
            digest = known.output_digest if known is not None else None
            yield PARENT
        if expected is None:
            return (yield from self._publish_new(job, name))
        return (yield from self._exchange(job, name, expected, digest))

    def _source_is_what_was_read(self, job: Job) -> bool:
        return self.world.print_at(self.world.source, job.file.path) == job.fingerprint

    def _has_result(self, known: Entry) -> bool:
        """Tell whether the result that `known` tells of is still at the target: by its fingerprint, or by its bytes."""
        present = self.world.target.get(known.path)
        if present is None or known.output_digest is None:
            return False
        return self.world.print_of(present) == known.target or present.content == known.output_digest

    def _publish_new(self, job: Job, name: str) -> Generator[str, str, Fingerprint | str]:
        world, path = self.world, job.file.path
        if path in world.target:
            if world.target[path].content == job.output:
                job.change = world.changes
                world.sync()
                return world.print_of(world.target[path])
            return "occupied"
        if job.name is None:
            world.link(path, job.staging)
        else:
            world.rename(name, path)
            job.name = None
        return (yield from self._durably(job))

    def _durably(self, job: Job) -> Generator[str, str, Fingerprint]:
        published = self.world.print_of(job.staging)  # at once: what is written into it from here on is not ours
        job.change = self.world.changes
        yield PARENT
        self.world.sync()
        return published

    def _exchange(
        self, job: Job, name: str, expected: Fingerprint, digest: str | None
    ) -> Generator[str, str, Fingerprint | str]:
        world, path = self.world, job.file.path
        if job.name is None:
            world.link(name, job.staging)
            job.name = name
        elif world.print_at(world.target, path) != expected:
            return "newer"
        yield PARENT
        if path not in world.target:
            return "newer"
        world.exchange(name, path)
        published, job.change, job.name = world.print_of(job.staging), world.changes, None
        yield PARENT
        out = world.target[name]
        same = (out.number, out.mtime) == (expected.inode, expected.mtime_ns)
        if not (same and out.writers == 0 and out.content == digest):
            left = yield from self._put_back(name, path, (job.staging, job.output))
            job.name = name if left else None
            yield PARENT
            world.sync()
            return "newer"
        self._unlink(name, {digest})
        job.change = world.changes
        yield PARENT
        world.sync()
        return published

    def _put_back(self, name: str, path: str, placed: tuple[Inode, str]) -> Generator[str, str, bool]:
        world, there = self.world, placed
        while True:
            yield PARENT
            coming = (world.target[name], world.target[name].content)
            if path not in world.target:  # somebody moved or removed what we put there
                yield PARENT
                if path in world.target:
                    continue
                world.rename(name, path)
                return False
            world.exchange(name, path)
            out = (world.target[name], world.target[name].content)
            if out == there:
                break
            there = coming
        if out == placed:
            world.swapped.pop(name)
            return True
        yield PARENT
        world.set_aside(name, path)
        return False

    # --- outlet.recovery

    def _recover_one(self, intent: Intent) -> Generator[str, str, bool]:
        """Bring the disk in order, and write down what came of it; False when it has to be tried again."""
        world, path = self.world, intent.path
        name = (intent.staging or "").rpartition("/")[2]
        before = self.ledger.entry(intent.root, path)
        present = world.print_at(world.target, path)  # before its content is read: what is written later is not ours
        yield PARENT
        target, staging = world.target.get(path), world.target.get(name)
        replaced = intent.input_digest if self.in_place else None if before is None else before.output_digest
        plan = decide.on_restart(
            target=None if target is None else target.content,
            staging=None if staging is None else "" if staging.writers else staging.content,
            replaced=replaced, output_digest=intent.output_digest,
        )  # fmt: skip
        yield PARENT
        match plan:
            case decide.Restore() if target is None:
                if path in world.target:
                    return False  # taken meanwhile
                world.rename(name, path)
            case decide.Restore():
                yield from self._put_back(name, path, (target, intent.output_digest or ""))
            case decide.SetAside():
                world.set_aside(name, path)
        change = world.changes
        yield PARENT
        if not isinstance(plan, decide.Redo):
            world.sync()
        if name in world.target:
            unfinished = {world.target[name].content} if intent.output_digest is None else set()
            self._unlink(name, {intent.output_digest, replaced, *unfinished})
            yield PARENT
            world.sync()
        yield ANSWER
        assert isinstance(plan, decide.Redo) or world.durable >= change, "recorded before the directory was durable"
        self._record_recovery(intent, before, present if isinstance(plan, decide.Finish) else None)
        return True

    def _record_recovery(self, intent: Intent, before: Entry | None, target: Fingerprint | None) -> None:
        entry = Entry(
            intent.root, intent.path, State.RETRY, intent.recipe, intent.source, attempts=intent.attempts,
            reason=Reason.INTERRUPTED, to=self.plan.to,
        )  # fmt: skip
        if target is not None:
            entry = replace(
                entry, state=State.PUBLISHED, source=target if self.in_place else intent.source, target=target,
                input_digest=intent.input_digest, output_digest=intent.output_digest, reason=None, attempts=0,
            )  # fmt: skip
        elif before is not None and not (self.in_place and before.recipe != intent.recipe):
            entry = replace(
                entry, target=before.target, output_digest=before.output_digest, input_digest=before.input_digest
            )
        with self.ledger.transaction():
            self.ledger.put(entry)
            self.ledger.end(intent.token)
