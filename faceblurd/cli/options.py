"""What several commands share: options, the way to the config, our documents' place, and the signal that stops one."""

from __future__ import annotations

import os
import signal
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING

import click

from faceblurd.errors import UsageError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from typing import Any

    from faceblurd.config.schema import Config, Settings

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="FACEBLURD_CONFIG",
    metavar="FILE",
    help="The configuration (also FACEBLURD_CONFIG).",
)
state_dir_option = click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where state lives, without a config  [default: ~/.local/state/faceblurd].",
)


def both(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --config and --state-dir."""
    return config_option(state_dir_option(function))


def load(config_path: Path, *, strictly: bool = False) -> Config:
    """Read a config file; ConfigError when it is refused. `strictly`: also what the service starts without."""
    from faceblurd.config.loading import load_config  # noqa: PLC0415 - pydantic, for configs only

    return load_config(config_path, environ=os.environ, strictly=strictly)


def load_settings(config_path: Path) -> Settings:
    """Read how to detect and blur from a config file, which need name no root; ConfigError when it is refused."""
    from faceblurd.config.loading import load_settings  # noqa: PLC0415 - pydantic, for configs only

    return load_settings(config_path, environ=os.environ)


def state_dir_of(config_path: Path | None, state_dir: Path | None) -> Path:
    """Find the state directory that a command is about; the roots, which may lie on a dead share, are not touched."""
    if config_path is not None and state_dir is not None:
        raise UsageError("--state-dir does not go with --config", remedy="The config names it")
    if config_path is not None:
        from faceblurd.config.loading import load_state_dir  # noqa: PLC0415 - pydantic, for configs only

        return load_state_dir(config_path, environ=os.environ)
    if state_dir is not None:
        return state_dir
    return own_state_dir()


def own_state_dir() -> Path:
    """Find where state lives when nobody says; UsageError for a user without a home, as in many containers."""
    from faceblurd.config.loading import default_state_dir  # noqa: PLC0415 - pydantic, for configs only

    home = os.environ["HOME"] if "HOME" in os.environ else os.path.expanduser("~")  # `~` for a user who is not known
    found = default_state_dir(os.environ, Path(home))
    if os.environ.get("FACEBLURD_STATE_DIR"):  # said by somebody, and so from where that is, as `--state-dir` is
        return found.absolute()
    if not found.is_absolute():
        raise UsageError(
            "no place for the state is known: this user has no home",
            remedy="Give --state-dir DIR, or set FACEBLURD_STATE_DIR (or HOME) to an absolute path",
        )
    return found


def installed(name: str) -> str:
    """Find a file of ours by its place below the folder that the package is installed into (`share/...`).

    In a clone, that is where it lies in the tree. Gives the bare name of what is nowhere.
    """
    try:
        known = files("faceblurd") or []
    except PackageNotFoundError:
        known = []
    places = [Path(os.fspath(file.locate())) for file in known if str(file).endswith(name)]
    tree = Path(__file__).resolve().parents[2]
    file = name.rpartition("/")[2]
    places += [tree / "docs" / file, tree / file]
    return next((str(place.resolve()) for place in places if place.is_file()), file)


class Stop:
    """Is true once a signal has asked for the end."""

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        """Listen from now on; what is ignored (`nohup`, a job in the background) stays ignored."""
        self._asked = False
        self._wake: Callable[[], None] = lambda: None
        for number in self.NUMBERS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._ask)

    def _ask(self, _number: int, _frame: object) -> None:
        self._asked = True
        self._wake()

    def event(self) -> asyncio.Event:
        """Give an event of the running loop that is set when it is time to stop."""
        import asyncio  # noqa: PLC0415 - 40 ms, and not needed for --help

        loop, event = asyncio.get_running_loop(), asyncio.Event()
        self._wake = lambda: _set_in(loop, event)
        if self._asked:
            event.set()
        return event

    def __call__(self) -> bool:
        """Tell whether to stop."""
        return self._asked

    def heed(self) -> None:
        """Raise click.Abort, which ends the command with 130, when it is time to stop."""
        if self._asked:
            raise click.Abort


def _set_in(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(event.set)
