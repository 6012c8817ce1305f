"""A crash at every step of a delivery: the original or the finished result is there, whole, and nothing else.

A child process delivers and kills itself with SIGKILL before or after its Nth call to the kernel or the ledger; the
parent recovers. N grows until the child gets to its end. The children are forks of one process that loaded it all.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from faceblurd.ledger.ledger import Ledger
from faceblurd.model import BlurSpec, DetectionSpec, Entry, Fingerprint, Intent, Mode, Reason, Recipe, Staged, State
from faceblurd.publish import (
    contents,
    delivery,
    publisher,
    recovery,
    renames,
)
from faceblurd.publish.publisher import Occupied, Published
from faceblurd.publish.staging import Target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ORIGINAL, RESULT, OLD_RESULT, UPLOAD = b"the original", b"the result", b"an older result", b"a newer upload"

CHILD = r"""
import errno, json, os, signal, sys, traceback
from pathlib import Path
from faceblurd.model import Fingerprint, Mode, Staged
from faceblurd.publish import contents, delivery, renames
from faceblurd.publish import staging as staging_files
from faceblurd.ledger.ledger import Ledger
from faceblurd.publish.staging import Target

root, mode, ways, last_step = "", Mode.MIRROR, [], -1
steps, armed = 0, False

def point(function):
    def wrapped(*arguments, **named):
        step()
        result = function(*arguments, **named)
        step()
        return result
    def step():
        global steps
        if armed:
            if steps == last_step:
                os.kill(os.getpid(), signal.SIGKILL)
            steps += 1
    return wrapped

real_open = os.open

def without_tmpfile(path, flags, *arguments, **named):
    if flags & os.O_TMPFILE == os.O_TMPFILE:
        raise OSError(errno.EOPNOTSUPP, "no O_TMPFILE")
    return real_open(path, flags, *arguments, **named)

def without_exchange(*_):
    raise OSError(errno.EINVAL, "no renameat2")

real_renameat2, coming = renames.renameat2, ["an upload"]

def after_an_upload(*arguments):
    # The worst time: after every look, right before the first exchange.
    if coming and coming.pop():
        Path(f"{root}/upload").write_bytes(b"a newer upload")
        os.replace(f"{root}/upload", f"{root}/in/photo.jpg")
    real_renameat2(*arguments)

def prepare():
    if "upload" in ways:
        renames.renameat2 = after_an_upload
    if "named" in ways:
        os.open = without_tmpfile
    if "plain" in ways:
        renames.renameat2 = without_exchange
    for module, name in ((os, "link"), (os, "rename"), (os, "unlink"), (os, "fsync"), (renames, "renameat2"),
                         (staging_files, "_create"), (Ledger, "begin"), (os, "mkdir")):
        setattr(module, name, point(getattr(module, name)))

def deliver():
    global armed
    ledger = Ledger(Path(root, "ledger"))
    source_fd = os.open(f"{root}/in/photo.jpg", os.O_RDONLY)
    fingerprint = Fingerprint.from_stat(os.fstat(source_fd))
    to = f"{root}/in" if mode is Mode.IN_PLACE else f"{root}/out"
    armed = True
    target = Target(to, "photo.jpg")
    intent = delivery.intend(ledger, delivery.Origin(f"{root}/in", "photo.jpg", fingerprint, "R", 1), target)
    work = delivery.stage(intent, mode=mode, target=target, source_fd=source_fd)
    work.digest = contents.digest_of(source_fd)
    os.pwrite(work.staging.fd, b"the result", 0)
    os.fsync(work.staging.fd)
    staged = Staged(1, (), contents.digest_of(work.staging.fd), 10, True, "", 1)
    delivery.write_down(ledger, work, staged, payload="{}")
    delivery.deliver(work, staged, known=ledger.entry(f"{root}/in", "photo.jpg"), replace_others="replace" in ways)
    work.close()

for line in sys.stdin:
    root, mode, ways, last_step = json.loads(line)
    mode, ways, last_step = Mode(mode), ways.split(","), int(last_step)
    child = os.fork()
    if child == 0:
        try:
            prepare()
            deliver()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass
class Desk:
    root: Path
    parent: subprocess.Popen[str]

    @property
    def photo(self) -> Path:
        return self.root / "in" / "photo.jpg"

    @property
    def mirrored(self) -> Path:
        return self.root / "out" / "photo.jpg"

    def open_ledger(self) -> Ledger:
        return Ledger(self.root / "ledger")

    def crash(self, mode: Mode, ways: str, step: int) -> bool:
        """Deliver in a child that dies at `step`; False when it got to its end first."""
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        self.parent.stdin.write(json.dumps([str(self.root), mode.value, ways, step]) + "\n")
        self.parent.stdin.flush()
        code = int(self.parent.stdout.readline())
        assert code in {0, -signal.SIGKILL}
        return code != 0

    def recovered(self) -> tuple[Entry | None, int]:
        """Recover; give the entry, and how many hook calls are owed."""
        with closing(self.open_ledger()) as ledger:
            recovery.recover(ledger)
            assert ledger.intents() == []
            assert recovery.recover(ledger) == []
            entry = ledger.entry(str(self.root / "in"), "photo.jpg")
            calls = 0
            while (call := ledger.outbox_next()) is not None:
                ledger.outbox_done(call.id)
                calls += 1
            return entry, calls

    def hidden(self) -> list[Path]:
        return list(self.root.rglob(".faceblurd-*"))


@pytest.fixture(scope="module")
def parent() -> Iterator[subprocess.Popen[str]]:
    """Start the process whose forks deliver and die."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=pipe, stdout=pipe, text=True) as process:
        yield process


@pytest.fixture
def fresh(tmp_path: Path, parent: subprocess.Popen[str]) -> Desk:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "photo.jpg").write_bytes(ORIGINAL)
    return Desk(tmp_path, parent)


def _reset(desk: Desk) -> None:
    for path in (*desk.root.glob("ledger*"), *desk.root.glob("in/*"), *desk.root.glob("out/*")):
        path.unlink()
    desk.photo.write_bytes(ORIGINAL)


def _check(entry: Entry | None, calls: int, *, done: bool, source: Path, target: Path) -> None:
    """Compare the ledger with what is on the disk."""
    if not done:
        assert entry is None or (entry.state, entry.reason) == (State.RETRY, Reason.INTERRUPTED)
        assert entry is None or (entry.attempts, entry.recipe) == (1, "R")  # a crash counts, on these bytes
        assert calls == 0
        return
    assert entry is not None
    assert entry.state is State.PUBLISHED
    assert entry.source == Fingerprint.from_stat(source.lstat())
    assert entry.target == Fingerprint.from_stat(target.lstat())
    assert calls == 1


@pytest.mark.parametrize("ways", ["", "named", "named,plain"])
def test_in_place_a_crash_leaves_the_original_or_the_result(fresh: Desk, ways: str) -> None:
    step, outcomes = 0, set()
    while fresh.crash(Mode.IN_PLACE, ways, step):
        entry, calls = fresh.recovered()
        content = fresh.photo.read_bytes()
        assert content in {ORIGINAL, RESULT}, step
        assert fresh.hidden() == [], step
        _check(entry, calls, done=content == RESULT, source=fresh.photo, target=fresh.photo)
        outcomes.add(content)
        _reset(fresh)
        step += 1
    assert outcomes == {ORIGINAL, RESULT}
    assert step >= 10


@pytest.mark.parametrize("ways", ["", "named", "named,plain"])
def test_in_a_mirror_a_crash_leaves_nothing_or_the_result(fresh: Desk, ways: str) -> None:
    step, outcomes = 0, set()
    while fresh.crash(Mode.MIRROR, ways, step):
        entry, calls = fresh.recovered()
        assert fresh.photo.read_bytes() == ORIGINAL
        assert fresh.hidden() == [], step
        done = fresh.mirrored.exists()
        assert not done or fresh.mirrored.read_bytes() == RESULT
        _check(entry, calls, done=done, source=fresh.photo, target=fresh.mirrored)
        outcomes.add(done)
        _reset(fresh)
        step += 1
    assert outcomes == {True, False}


def _publish_an_older_result(desk: Desk) -> None:
    desk.mirrored.write_bytes(OLD_RESULT)
    fd = os.open(desk.mirrored, os.O_RDONLY)
    entry = Entry(
        str(desk.root / "in"), "photo.jpg", State.PUBLISHED, "R", Fingerprint(1, 2, 3, 4, 5), "old input",
        contents.digest_of(fd), Fingerprint.from_stat(os.fstat(fd)),
    )  # fmt: skip
    os.close(fd)
    with closing(desk.open_ledger()) as ledger:
        ledger.put(entry)


@pytest.mark.parametrize("ways", ["", "named"])
def test_in_a_mirror_a_crash_leaves_the_older_or_the_newer_result_and_never_a_held_file(fresh: Desk, ways: str) -> None:
    step, outcomes = 0, set()
    _publish_an_older_result(fresh)
    while fresh.crash(Mode.MIRROR, ways, step):
        entry, calls = fresh.recovered()
        content = fresh.mirrored.read_bytes()
        assert content in {OLD_RESULT, RESULT}, step
        assert fresh.hidden() == [], step
        if content == RESULT:
            _check(entry, calls, done=True, source=fresh.photo, target=fresh.mirrored)
        assert isinstance(_deliver_again(fresh), Published), step  # the name is still ours
        assert fresh.mirrored.read_bytes() == RESULT
        outcomes.add(content)
        _reset(fresh)
        _publish_an_older_result(fresh)
        step += 1
    assert outcomes == {OLD_RESULT, RESULT}


def _deliver_again(desk: Desk, *, replace_others: bool = False) -> object:
    with closing(desk.open_ledger()) as ledger:
        root, fd = str(desk.root / "in"), os.open(desk.photo, os.O_RDONLY)
        origin = delivery.Origin(root, "photo.jpg", Fingerprint.from_stat(os.fstat(fd)), "R", 1)
        target = Target(str(desk.root / "out"), "photo.jpg")
        intent = delivery.intend(ledger, origin, target)
        work = delivery.stage(intent, mode=Mode.MIRROR, target=target, source_fd=fd)
        os.pwrite(work.staging.fd, RESULT, 0)
        staged = Staged(1, (), contents.digest_of(work.staging.fd), len(RESULT), True, "", 1)
        known = ledger.entry(root, "photo.jpg")
        delivery.write_down(ledger, work, staged, payload="")
        result = delivery.deliver(work, staged, known=known, replace_others=replace_others)
        ledger.end(work.intent.token)
        work.close()
        return result


@pytest.mark.parametrize("ways", ["upload", "upload,named"])
def test_a_newer_upload_survives_a_crash_at_any_step(fresh: Desk, ways: str) -> None:
    step = 0
    while fresh.crash(Mode.IN_PLACE, ways, step):
        uploaded = fresh.photo.read_bytes() == UPLOAD or any(one.read_bytes() == UPLOAD for one in fresh.hidden())
        fresh.recovered()
        if uploaded:
            assert fresh.photo.read_bytes() == UPLOAD, step
        assert fresh.photo.read_bytes() != RESULT, step
        assert fresh.hidden() == [], step
        _reset(fresh)
        step += 1
    assert step >= 10
    assert fresh.photo.read_bytes() == UPLOAD


def test_a_crash_while_another_file_is_replaced_leaves_no_staging_file(fresh: Desk) -> None:
    step = 0
    fresh.mirrored.write_bytes(UPLOAD)
    while fresh.crash(Mode.MIRROR, "replace", step):
        fresh.recovered()
        assert fresh.mirrored.read_bytes() in {UPLOAD, RESULT}, step
        assert fresh.hidden() == [], step
        _reset(fresh)
        fresh.mirrored.write_bytes(UPLOAD)
        step += 1
    assert fresh.mirrored.read_bytes() == RESULT


# --- without a crash


def test_a_file_that_is_not_ours_is_not_replaced_unless_told_to(fresh: Desk) -> None:
    fresh.mirrored.write_bytes(UPLOAD)
    assert isinstance(_deliver_again(fresh), Occupied)
    assert fresh.mirrored.read_bytes() == UPLOAD
    assert isinstance(_deliver_again(fresh, replace_others=True), Published)
    assert fresh.mirrored.read_bytes() == RESULT
    assert fresh.hidden() == []


def test_a_result_that_is_there_already_counts_as_published(fresh: Desk) -> None:
    fresh.mirrored.write_bytes(RESULT)
    assert isinstance(_deliver_again(fresh), Published)


def test_a_place_that_is_not_mounted_keeps_its_intent(fresh: Desk) -> None:
    """The staging file's name is known again when the disk is back."""
    away = fresh.root / "away"
    fd = os.open(fresh.photo, os.O_RDONLY)
    digest, source = contents.digest_of(fd), Fingerprint.from_stat(os.fstat(fd))
    os.close(fd)
    staging = fresh.root / "in" / ".faceblurd-0011.tmp"
    staging.write_bytes(RESULT)
    intent = Intent("0011", str(fresh.root / "in"), "photo.jpg", str(fresh.photo), str(staging), source, "R", 1, digest)
    with closing(fresh.open_ledger()) as ledger:
        ledger.begin(intent)
        (fresh.root / "in").rename(away)
        assert recovery.recover(ledger) == [(intent, recovery.POSTPONED)]
        assert ledger.intents() == [intent]
        away.rename(fresh.root / "in")
        assert recovery.recover(ledger) == [(intent, "redo")]
        assert ledger.intents() == []
    assert fresh.hidden() == []
    assert fresh.photo.read_bytes() == ORIGINAL


def test_an_older_recipes_result_is_not_our_own_output_after_a_crash(fresh: Desk) -> None:
    """In place, the same bytes under a new recipe must be looked at again, crash or not."""
    root = str(fresh.root / "in")
    fd = os.open(fresh.photo, os.O_RDONLY)
    digest, source = contents.digest_of(fd), Fingerprint.from_stat(os.fstat(fd))
    os.close(fd)
    old, new = (Recipe("r", DetectionSpec((), size), BlurSpec()).digest for size in (100, 200))
    with closing(fresh.open_ledger()) as ledger:
        ledger.put(Entry(root, "photo.jpg", State.PUBLISHED, old, source, "in", digest, source))
        ledger.begin(Intent("1", root, "photo.jpg", str(fresh.photo), None, source, new, 1, digest))
        recovery.recover(ledger)
        assert not ledger.is_own_result(digest, new)


# --- what a crash left, and people who do not wait until it is cleared up


def _left_by_a_crash(desk: Desk, ledger: Ledger, *, target: bytes | None, staging: bytes) -> Intent:
    """Leave what an exchange with an upload leaves: the upload by the staging file's name, the result by its own."""
    fd = os.open(desk.photo, os.O_RDONLY)
    read, source = contents.digest_of(fd), Fingerprint.from_stat(os.fstat(fd))
    os.close(fd)
    desk.photo.write_bytes(RESULT)
    fd = os.open(desk.photo, os.O_RDONLY)
    result = contents.digest_of(fd)
    os.close(fd)
    hidden = desk.root / "in" / ".faceblurd-0011.tmp"
    hidden.write_bytes(staging)
    desk.photo.unlink() if target is None else desk.photo.write_bytes(target)
    root = str(desk.root / "in")
    intent = Intent("0011", root, "photo.jpg", str(desk.photo), str(hidden), source, "R", 1, read, result)
    ledger.begin(intent)
    return intent


def _in_the_folder(desk: Desk) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (desk.root / "in").iterdir()}


NEWEST = b"the newest upload"


def test_a_name_that_is_taken_while_an_upload_goes_back_is_not_taken_away(
    fresh: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody had renamed the result, and somebody else uploads by that name right before the upload takes it."""
    move = renames.move_no_replace

    def after_an_upload(*arguments: Any, **named: Any) -> None:
        monkeypatch.undo()
        fresh.photo.write_bytes(NEWEST)
        move(*arguments, **named)

    monkeypatch.setattr(renames, "move_no_replace", after_an_upload)
    with closing(fresh.open_ledger()) as ledger:
        intent = _left_by_a_crash(fresh, ledger, target=None, staging=UPLOAD)
        assert recovery.recover(ledger) == [(intent, recovery.POSTPONED)]
        assert _in_the_folder(fresh) == {"photo.jpg": NEWEST, ".faceblurd-0011.tmp": UPLOAD}
        assert recovery.recover(ledger) == [(intent, "setaside")]
        assert ledger.intents() == []
    assert _in_the_folder(fresh) == {"photo.jpg": NEWEST, "photo.kept-0011.jpg": UPLOAD}


def test_what_is_written_into_a_result_while_an_upload_goes_back_stays(
    fresh: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = renames.renameat2

    def after_a_write(*arguments: Any) -> None:
        monkeypatch.undo()
        fresh.photo.write_bytes(NEWEST)
        exchange(*arguments)

    with closing(fresh.open_ledger()) as ledger:
        intent = _left_by_a_crash(fresh, ledger, target=RESULT, staging=UPLOAD)
        monkeypatch.setattr(renames, "renameat2", after_a_write)
        assert recovery.recover(ledger) == [(intent, "restore")]
    assert _in_the_folder(fresh) == {"photo.jpg": NEWEST, "photo.kept-0011.jpg": UPLOAD}


def test_an_upload_that_is_still_written_when_we_restart_keeps_a_name(fresh: Desk) -> None:
    """Its bytes are still those that were read; what comes is not."""
    with closing(fresh.open_ledger()) as ledger:
        intent = _left_by_a_crash(fresh, ledger, target=NEWEST, staging=ORIGINAL)
        with (fresh.root / "in" / ".faceblurd-0011.tmp").open("r+b") as writer:
            assert recovery.recover(ledger) == [(intent, "setaside")]
            writer.write(UPLOAD)
    assert _in_the_folder(fresh) == {"photo.jpg": NEWEST, "photo.kept-0011.jpg": UPLOAD}


def test_an_older_result_that_somebody_puts_back_is_an_upload_like_any_other(fresh: Desk) -> None:
    """In place, right before the exchange: it is known, but it is not what the newer result was made of."""
    with closing(fresh.open_ledger()) as ledger:
        intent = _left_by_a_crash(fresh, ledger, target=RESULT, staging=OLD_RESULT)
        (fresh.root / "old").write_bytes(OLD_RESULT)
        older = contents.digest_at(Target(str(fresh.root), "old"))
        ledger.put(Entry(intent.root, "photo.jpg", State.PUBLISHED, "R", intent.source, "older", older, intent.source))
        assert recovery.recover(ledger) == [(intent, "restore")]
    assert _in_the_folder(fresh) == {"photo.jpg": OLD_RESULT}


# --- without a crash


def _in_hand(desk: Desk, ledger: Ledger) -> tuple[delivery.Work, Staged]:
    """A photo on its way into the mirror, whose result is finished."""
    fd = os.open(desk.photo, os.O_RDONLY)
    source = Fingerprint.from_stat(os.fstat(fd))
    target = Target(str(desk.root / "out"), "photo.jpg")
    intent = delivery.intend(ledger, delivery.Origin(str(desk.root / "in"), "photo.jpg", source, "R", 1), target)
    work = delivery.stage(intent, mode=Mode.MIRROR, target=target, source_fd=fd)
    work.digest = contents.digest_of(fd)
    os.pwrite(work.staging.fd, RESULT, 0)
    staged = Staged(1, (), contents.digest_of(work.staging.fd), len(RESULT), True, "", 1)
    delivery.write_down(ledger, work, staged, payload="")
    return work, staged


@pytest.mark.parametrize("change", ["overwritten", "deleted", "replaced by a link"])
def test_a_photo_that_is_not_what_was_read_any_more_publishes_nothing_in_its_mirror(fresh: Desk, change: str) -> None:
    with closing(fresh.open_ledger()) as ledger:
        work, staged = _in_hand(fresh, ledger)
        if change == "overwritten":
            fresh.photo.write_bytes(UPLOAD)
        else:
            fresh.photo.unlink()
        if change == "replaced by a link":
            fresh.photo.symlink_to("elsewhere.jpg")
        assert delivery.deliver(work, staged, known=None, replace_others=True) == publisher.Newer()
        work.close()
    assert list((fresh.root / "out").iterdir()) == []


@pytest.mark.parametrize("known", ["a result that somebody deleted", "no result at all"])
def test_what_the_ledger_knows_of_a_result_that_is_not_there_changes_nothing(fresh: Desk, known: str) -> None:
    with closing(fresh.open_ledger()) as ledger:
        work, staged = _in_hand(fresh, ledger)
        source = work.intent.source
        entry = Entry(work.intent.root, "photo.jpg", State.PUBLISHED, "R", source, output_digest="D", target=source)
        if known == "no result at all":
            entry = replace(entry, state=State.RETRY, output_digest=None, target=None)
            fresh.mirrored.write_bytes(UPLOAD)
        result = delivery.deliver(work, staged, known=entry, replace_others=False)
        work.close()
    if known == "no result at all":
        assert result == Occupied()
        assert fresh.mirrored.read_bytes() == UPLOAD, "nobody's result, so not ours to replace"
    else:
        assert isinstance(result, Published)
        assert fresh.mirrored.read_bytes() == RESULT


def test_a_file_that_was_in_the_way_and_is_gone_means_another_look(
    fresh: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = publisher.publish

    def and_away(*arguments: Any, **named: Any) -> object:
        result = publish(*arguments, **named)
        fresh.mirrored.unlink()
        return result

    with closing(fresh.open_ledger()) as ledger:
        work, staged = _in_hand(fresh, ledger)
        fresh.mirrored.write_bytes(UPLOAD)
        monkeypatch.setattr(publisher, "publish", and_away)
        assert delivery.deliver(work, staged, known=None, replace_others=False) == publisher.Newer()
        work.close()
    assert list((fresh.root / "out").iterdir()) == []


def test_a_staging_file_that_could_not_be_removed_is_removed_later_and_nothing_else_is_done(fresh: Desk) -> None:
    """Its folder was a link for a while: nothing is removed through that."""
    with closing(fresh.open_ledger()) as ledger:
        work, _ = _in_hand(fresh, ledger)
        stays = fresh.root / "out" / f".faceblurd-{work.intent.token}.tmp"
        stays.write_bytes(RESULT)
        delivery.sweep_later(ledger, work.intent)
        work.close()
        (intent,) = ledger.intents()
        (fresh.root / "out").rename(fresh.root / "real")
        (fresh.root / "out").write_bytes(b"no folder")
        assert recovery.recover(ledger) == [(intent, recovery.POSTPONED)]
        assert ledger.intents() == [intent]
        (fresh.root / "out").unlink()
        (fresh.root / "real").rename(fresh.root / "out")
        assert recovery.recover(ledger) == [(intent, recovery.SWEPT)]
        assert ledger.intents() == []
        assert ledger.entry(intent.root, intent.path) is None, "what became of the file was written down before"
    assert fresh.hidden() == []
    assert fresh.photo.read_bytes() == ORIGINAL


@pytest.mark.parametrize("named", [True, False])
def test_a_staging_file_that_is_gone_already_is_no_reason_to_wait(fresh: Desk, *, named: bool) -> None:
    with closing(fresh.open_ledger()) as ledger:
        work, _ = _in_hand(fresh, ledger)
        work.close()
        intent = work.intent if named else replace(work.intent, staging=None)
        delivery.sweep_later(ledger, intent)
        assert [what for _, what in recovery.recover(ledger)] == [recovery.SWEPT]
        assert ledger.intents() == []
