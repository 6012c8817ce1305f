"""`faceblurd blur`: the same work once, on files and folders, by hand or as a hook of another tool."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from faceblurd.cli.options import Stop, config_option, load_settings
from faceblurd.cli.plans import PlanMaker, look, silence
from faceblurd.config.defaults import Hooks, Workers
from faceblurd.engine import mirrors, once, thread
from faceblurd.engine.engine import Engine
from faceblurd.engine.model import Log, RetryPolicy
from faceblurd.engine.plans import MEGABYTE
from faceblurd.engine.thread import BoundedThread
from faceblurd.errors import Exit, UsageError
from faceblurd.ledger.ledger import Ledger
from faceblurd.model import Outcome, Reason, Report
from faceblurd.report.logs import printable_line
from faceblurd.rules.decide import reason_of
from faceblurd.rules.filter import MEANINGS
from faceblurd.startup import give_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faceblurd.cli.plans import Candidate
    from faceblurd.engine.model import RootPlan
    from faceblurd.model import Region
    from faceblurd.watch.scan import Finished, Found


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--to", type=Path, metavar="DIR", help="Put results into DIR.")
@click.option("--in-place", is_flag=True, help="Blur the photos where they are.")
@click.option("--recipe", "recipe_name", metavar="NAME", help="fast, balanced, thorough, classic  [default: balanced].")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a file on stdout; logs on stderr.")
@click.option(
    "--contact-sheet",
    "sheet",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.png",
    help="One page with every hidden box of the run.",
)
@click.option("--with-originals", is_flag=True, help="Show on that page what was hidden, too (not with --in-place).")
@click.option("--replace", is_flag=True, help="Overwrite files in --to that faceblurd did not write.")
@config_option
def blur(  # noqa: PLR0913 - the command's flags
    paths: tuple[str, ...], to: Path | None, recipe_name: str | None, config_path: Path | None, sheet: Path | None, *,
    in_place: bool, as_json: bool, replace: bool, with_originals: bool,
) -> int:  # fmt: skip
    r"""Blur the faces in PATHs (photos and folders) once.

    \b
    faceblurd blur photo.jpg --to out/
    faceblurd blur holiday/ --in-place
    find . -name '*.jpg' | faceblurd blur - --to out/ --json

    PATH may be `-`: a list on stdin, one path a line (or with NUL between them, as `find -print0` writes). Of a folder,
    --to gets the same tree. The config, if one is given, says how to detect and blur; its roots are not used. Exit code
    3 when files were held, 1 when something that was named is not there, a folder could not be looked into, or nothing
    was found to blur.
    """
    if in_place == (to is not None):
        raise UsageError("give either --to DIR or --in-place", remedy="A photo is published in one place")
    if with_originals and (in_place or sheet is None):
        raise UsageError("--with-originals goes with --contact-sheet and --to", remedy="In place, no original is left")
    maker = PlanMaker(None if config_path is None else load_settings(config_path), recipe_name, to, replace=replace)
    teller = _Teller(as_json=as_json)
    candidates = maker.candidates(_listed(paths), teller.missing)
    if teller.absent and not candidates and "-" not in paths:
        path, error = teller.absent[0]
        raise UsageError(f"{path}: {error.strerror}", remedy="Nothing was done")
    code = _run(maker, candidates, teller)
    if sheet is not None:
        teller.draw(str(sheet), with_originals=with_originals)
    return code


def _listed(paths: tuple[str, ...]) -> Iterator[str]:
    for path in paths:
        if path == "-":
            content = sys.stdin.buffer.read()
            lines = content.split(b"\0") if b"\0" in content else content.replace(b"\r\n", b"\n").split(b"\n")
            yield from (os.fsdecode(line) for line in lines if line.strip())
        else:
            yield path


def _run(maker: PlanMaker, candidates: list[Candidate], teller: _Teller) -> int:
    stop = Stop()
    thread.run(_blurred(maker, candidates, teller, stop))
    return 130 if stop() else teller.exit_code()


async def _blurred(maker: PlanMaker, candidates: list[Candidate], teller: _Teller, stop: Stop) -> None:
    settings = maker.settings
    workers = Workers() if settings is None else settings.workers
    # No ledger outlives this run, so nothing could wait for a second try of the hook.
    hooks = Hooks() if settings is None else settings.hooks.model_copy(update={"max_attempts": 1})
    policy = RetryPolicy(  # what does not answer has been waited for
        max_attempts=2, backoff_seconds=0.1, max_bytes=workers.max_file_mb * MEGABYTE, waits_for_space=False
    )
    ledger = Ledger(None)
    engine = Engine(
        list(maker.plans.values()), workers=workers, hooks=hooks, ledger=ledger, state_dir=None, policy=policy,
        log=Log(report=teller.report, event=teller.tell),
    )  # fmt: skip
    try:
        await once.unless_stopped(engine.pool.ready(), engine, stop.event())
        stop.heed()
        with teller:
            engine.open_folders(partial(BoundedThread, silent_seconds=once.SILENT_SECONDS))
            await once.unless_stopped(_each_done(engine, candidates, ledger, teller), engine, stop.event())
            if not stop():
                teller.look_for_lost()
    finally:
        await engine.close()


async def _each_done(engine: Engine, candidates: list[Candidate], ledger: Ledger, teller: _Teller) -> None:
    """Do every file; what is not there (any more), and a folder without a photo, is said."""
    for plan, name in candidates:
        mirrors.make_mirrors([plan], ledger)
        folder, number, ended = engine.folders[plan.path], 0, []  # type: ignore[var-annotated]  # of `Finished`
        files = once.files_below(plan, ended) if name is None else once.one_file(plan, name)
        walker = BoundedThread(f"walk of {plan.path}", silent_seconds=once.SILENT_SECONDS)  # photos go on beside it
        try:
            async for one in once.each(walker, files):
                number += 1
                teller.count(plan, one)
                await once.take_on(engine, folder, one)
            for walk in ended:
                teller.walked(walk)
            if not number:
                teller.nothing_in(plan.path, *await walker.run(partial(once.others_below, plan.path)))
        except OSError as error:
            teller.missing(plan.path if name is None else f"{plan.path}/{name}", error)
        finally:
            walker.close()
    await once.finish(engine)


class _Teller:
    """Says what became of each file: JSON lines, a progress bar on a terminal, or plain lines."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._reports: list[tuple[bool, int]] = []
        self._hidden: list[tuple[str, str, tuple[Region, ...]]] = []
        self._left: Counter[str] = Counter()
        self._unread = self._unheard = False
        self.absent: list[tuple[str, OSError]] = []
        self._under_way: set[str] = set()
        self._troubled: set[str] = set()
        self._found = 0
        self._empty = False
        self._progress: Any = None
        self._task: Any = None

    def __enter__(self) -> None:
        if sys.stderr.isatty():
            from rich.console import Console  # noqa: PLC0415 - on a terminal only
            from rich.progress import Progress  # noqa: PLC0415 - on a terminal only

            self._progress = Progress(console=Console(stderr=True), transient=True)
            self._task = self._progress.add_task("blurring", total=0)
            self._progress.start()

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()
        if not self._as_json:
            held = sum(not published for published, _ in self._reports)
            faces = sum(faces for _, faces in self._reports)
            missing = f", {len(self.absent)} missing" if self.absent else ""
            self._echo(f"{len(self._reports)} files, {faces} faces blurred, {held} held{missing}", err=True)
            for meaning, number in self._left.items():
                self._echo(f"left alone: {number} {meaning}", err=True)

    def count(self, plan: RootPlan, found: Found) -> None:
        """Count a candidate into the progress bar's total."""
        self._found += 1
        if not found.companion_of:  # those are no photos, and may go
            self._under_way.add(f"{plan.path}/{found.path}")
        if self._progress is not None:
            self._progress.update(self._task, total=self._found)

    def walked(self, walk: Finished) -> None:
        """Note what a walk left alone, and say what it could not look into."""
        self._unread |= once.say_unread(walk.root, walk.errors, Log(self.report, self.tell))
        for left in walk.left:
            self._left[MEANINGS[left.why]] += left.count

    def report(self, report: Report) -> None:
        """Say what became of a file."""
        self._under_way.discard(report.path)
        self._reports.append((report.output is not None, len(report.regions)))
        if report.output is not None and report.regions:
            self._hidden.append((report.path, report.output, report.regions))
        if self._as_json:
            self._echo(json.dumps(report.as_dict()))
        elif report.output is None:
            self._say(f"{report.outcome.value}: {report.path}: {report.detail or report.reason}", err=True)
        else:
            faces = f"({len(report.regions)} faces)"
            self._say(f"{report.outcome.value}: {report.path} -> {report.output} {faces}", err=False)
        if self._progress is not None:
            self._progress.advance(self._task)

    def missing(self, path: str, error: OSError) -> None:
        """Say that something which was named, or found, cannot be looked at; the others go on."""
        self.absent.append((path, error))
        if self._as_json:
            self._echo(json.dumps(_missing_report(path, error).as_dict()))
        self._say(f"missing: {path}: {error.strerror}", err=True)

    def look_for_lost(self) -> None:
        """Say which files went away before their turn came, or are left over where a disk failed."""
        for path in sorted(self._under_way):
            try:
                look(partial(os.lstat, path))
            except OSError as error:
                self.missing(path, error)
            else:
                if any(f"{path}/".startswith(f"{one}/") for one in self._troubled):
                    self.missing(path, silence())

    def nothing_in(self, folder: str, others: int, example: str) -> None:
        """Say that a folder holds no photo by its name."""
        self._empty = True
        rest = f"; {others} of other kinds, such as {example}, left alone (name a file itself to try it)"
        self._say(f"no photo in {folder}" + (rest if others else ""), err=True)

    def _say(self, text: str, *, err: bool) -> None:
        """Print a line: above the progress bar where there is one and the line would land on the same terminal."""
        if self._progress is not None and (err or sys.stdout.isatty()):
            self._progress.console.print(printable_line(text), markup=False, highlight=False, soft_wrap=True)
        else:
            self._echo(printable_line(text), err=err)

    def _echo(self, text: str, *, err: bool = False) -> None:
        """Print a line; where that cannot be (a full disk, a reader that went away), the photos are done all the same.

        It is said once, and by the exit code.
        """
        try:
            click.echo(text, err=err)
        except OSError as error:
            self._unheard = True
            give_up(2 if err else 1)
            if not err:
                self._echo(f"faceblurd: standard output: {error.strerror}", err=True)

    def tell(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - whatever a log line holds
        """Say what a person should know beside the outcomes."""
        if event in {"root.trouble", "file.unreachable", "file.unfinished"}:
            self._troubled.add(fields.get("path") or fields["root"])
        if event not in {"file.retried", "file.skipped", "root.scanned"}:
            self._echo(f"{event}: {json.dumps(fields)}", err=True)

    def draw(self, path: str, *, with_originals: bool) -> None:
        """Draw the contact sheet of everything that was hidden."""
        from faceblurd.imaging.figures import Shown, draw_sheet  # noqa: PLC0415 - cv2, only when asked for

        shown = (Shown(output, source if with_originals else None, regions) for source, output, regions in self._hidden)
        tiles = draw_sheet(shown, path)
        click.echo(f"{path}: {tiles} boxes" if tiles else "nothing was hidden: no contact sheet", err=True)

    def exit_code(self) -> Exit:
        """Give the exit code for what became of the files."""
        if self._unread or self._unheard or self.absent or (self._empty and not self._reports):
            return Exit.OTHER
        return Exit.OK if all(published for published, _ in self._reports) else Exit.HELD


def _missing_report(path: str, error: OSError) -> Report:
    gone = isinstance(error, FileNotFoundError | NotADirectoryError)
    return Report(
        root="", path=os.path.abspath(path), outcome=Outcome.HELD, output=None,
        reason=Reason.VANISHED if gone else reason_of(error.errno), detail=error.strerror or str(error), regions=(),
        recipe="", lossless=None, milliseconds=0,
    )  # fmt: skip
