"""A model of the outlet: `outlet.delivery` and `outlet.publisher`, step by step, over the model of the disk.

Intent, staging, output digest, exchange or link, look, unlink, fsync, record; and the recovery after an end in
between.

Not in the model: hard links, suspended roots, hooks; file systems without RENAME_EXCHANGE (their race is documented);
an end between the two exchanges that give the second of two uploads its place again; a program that opens a result in
the moment between an exchange and the look at what came out, and writes into it after that look.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from decide_world import Inode, World, is_finished

from faceblurd.model import Entry, Fingerprint, Intent, Reason, State
from faceblurd.rules import decide

if TYPE_CHECKING:
    from collections.abc import Generator

    from faceblurd.outlet.ledger import Ledger
    from faceblurd.pipeline.files import File, RootPlan

    Steps = Generator[str, str, None]

PARENT, WORKER = "parent", "worker"


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
        assert inode.writers == 0 or inode.taken_away_by_people, "removed while somebody writes to it"
        superseded = self.world.promised.get(self.world.swapped.get(name, ""), "") != inode.content
        assert inode.content in known or superseded or is_finished(inode.content, self._recipe), (
            f"removed unread: {inode.content}"
        )
        self.world.unlink(name)

    # --- outlet.delivery and outlet.publisher

    def _deliver(self, job: Job, known: Entry | None) -> Generator[str, str, Fingerprint | str]:
        world, path = self.world, job.file.path
        expected, digest = job.fingerprint, job.digest
        if not self.in_place:
            present = world.print_at(world.target, path)
            ours = known is not None and known.target is not None and present == known.target
            expected, digest = (known.target, known.output_digest) if ours else (None, None)
        name = f".faceblurd-{job.intent.token}.tmp"
        staging = f"{self.plan.to}/{name}" if job.name is not None or expected is not None else None
        job.intent = replace(
            job.intent, staging=staging, input_digest=job.digest, output_digest=job.output
        )  # fmt: skip
        self.ledger.begin(job.intent)
        yield PARENT
        if expected is not None:
            return (yield from self._exchange(job, name, expected, digest))
        if path in world.target:
            if world.target[path].content == job.output:
                world.sync()
                return world.print_of(world.target[path])
            return "occupied"
        if job.name is None:
            world.link(path, job.staging)
        else:
            world.rename(name, path)
            job.name = None
        published = world.print_of(job.staging)
        world.foreign.discard(path)
        yield PARENT
        world.sync()
        return published

    def _exchange(
        self, job: Job, name: str, expected: Fingerprint, digest: str | None
    ) -> Generator[str, str, Fingerprint | str]:
        world, path = self.world, job.file.path
        if job.name is None:
            world.link(name, job.staging)
            job.name = name
            yield PARENT
        if path not in world.target:
            return "newer"
        world.exchange(name, path)
        published = world.print_of(job.staging)  # at once: what is written into it from here on is not ours
        job.name = None
        was_foreign = path in world.foreign
        world.foreign.discard(path)
        yield PARENT
        out = world.target[name]
        same = (out.number, out.mtime) == (expected.inode, expected.mtime_ns)
        if not (same and out.writers == 0 and out.content == digest):
            world.foreign |= {path} if was_foreign else set()
            return (yield from self._put_back(job, name))
        self._unlink(name, {digest})
        yield PARENT
        world.sync()
        return published

    def _put_back(self, job: Job, name: str) -> Generator[str, str, str]:
        left = yield from self._give_back(name, job.file.path, job.staging, job.output)
        job.name = name if left else None
        return "newer"

    def _give_back(self, name: str, path: str, ours: Inode, output: str) -> Generator[str, str, bool]:
        world, placed = self.world, ours
        yield PARENT
        while True:
            coming = world.target[name]
            if path not in world.target:  # somebody removed what we put there
                world.rename(name, path)
                world.sync()
                return False
            world.exchange(name, path)
            world.swapped.pop(name)
            if world.target[name] is placed:
                if placed is ours and placed.content != output:
                    world.exchange(name, path)  # somebody wrote into it: that is the newest
                return True
            world.swapped[name] = path
            placed = coming

    def _recover_one(self, intent: Intent) -> Steps:
        world, path = self.world, intent.path
        name = (intent.staging or "").rpartition("/")[2]
        before = self.ledger.entry(intent.root, path)
        target, staging = world.target.get(path), world.target.get(name)
        present = world.print_at(world.target, path)  # before its content is read: what is written later is not ours
        replaced = frozenset({intent.input_digest, None if before is None else before.output_digest})
        plan = decide.on_restart(
            target=None if target is None else target.content,
            staging=None if staging is None else "" if staging.writers else staging.content,
            replaced=replaced, output_digest=intent.output_digest,
        )  # fmt: skip
        if isinstance(plan, decide.Finish):
            world.foreign.discard(path)
        yield PARENT
        if isinstance(plan, decide.Restore):
            if target is None:
                world.rename(name, path)
            else:
                yield from self._give_back(name, path, target, intent.output_digest or "")
            world.sync()
        if isinstance(plan, decide.Finish):
            world.sync()
        if isinstance(plan, decide.SetAside):
            world.rename(name, f"{path} kept")
            world.swapped.pop(name, None)
            world.foreign |= set() if self.in_place else {f"{path} kept"}
            world.sync()
        yield PARENT
        if name in world.target:
            self._unlink(name, {intent.output_digest, "partial", *replaced})
            yield PARENT
            world.sync()
        yield PARENT
        self._record_recovery(intent, plan, present)

    def _record_recovery(
        self,
        intent: Intent,
        plan: decide.Finish | decide.Redo | decide.Restore | decide.SetAside,
        present: Fingerprint | None,
    ) -> None:
        before = self.ledger.entry(intent.root, intent.path)
        entry = Entry(
            intent.root, intent.path, State.RETRY, intent.recipe, intent.source, attempts=intent.attempts,
            reason=Reason.INTERRUPTED,
        )  # fmt: skip
        if isinstance(plan, decide.Finish) and present is not None:
            assert self.world.synced, "recorded before the directory was durable"
            entry = replace(
                entry, state=State.PUBLISHED, source=present if self.in_place else intent.source, target=present,
                input_digest=intent.input_digest, output_digest=intent.output_digest, reason=None, attempts=0,
            )  # fmt: skip
        elif before is not None and not (self.in_place and before.recipe != intent.recipe):
            entry = replace(
                entry, target=before.target, output_digest=before.output_digest, input_digest=before.input_digest
            )
        with self.ledger.transaction():
            self.ledger.put(entry)
            self.ledger.end(intent.token)
