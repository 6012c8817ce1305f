"""The typed caller of the plugins, which calls each of them on its own.

Owns loading and calling. Must not decide what becomes of a file, and imports neither numpy nor OpenCV. pluggy stops at
the first plugin that raises, so every call goes through `subset_hook_caller` for one plugin. pluggy and
importlib.metadata take 0.06 s to import, hence only when a plugin is listed.
"""

from __future__ import annotations

from math import isfinite
from operator import index
from typing import TYPE_CHECKING, Any

from faceblurd.errors import PluginError, SetupError
from faceblurd.model import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.metadata import EntryPoint

    import numpy.typing as npt
    import pluggy

    from faceblurd.imaging.detect import Detector
    from faceblurd.model import Recipe, Report

    OnError = Callable[[str, str, BaseException], None]
    Image = npt.NDArray[Any]

ENTRY_POINT_GROUP = "faceblurd"
RAISED = (Exception, SystemExit)
"""What a plugin's failure may be. `sys.exit()` in a plugin is one too: it must not end the daemon."""


class PluginHost:
    """The loaded plugins of this process, in the order of the config."""

    def __init__(self, manager: pluggy.PluginManager | None, versions: dict[str, str], *, on_error: OnError) -> None:
        """Use `load` instead."""
        self._manager = manager
        self._versions = versions
        self._on_error = on_error

    @classmethod
    def load(cls, names: Sequence[str], *, on_error: OnError) -> PluginHost:
        """Import the plugins `names`; `on_error(plugin, hook, error)` hears of failures that are ignored.

        Raises:
            SetupError: one is not installed, does not import, implements no hook, or misspells one.

        """
        if not names:
            return cls(None, {}, on_error=on_error)
        manager = _new_manager()
        versions = {name: _register(manager, name) for name in names}
        _check_pending(manager)
        return cls(manager, versions, on_error=on_error)

    @property
    def identities(self) -> tuple[str, ...]:
        """Name each plugin with its version (`corner_logo 1.0`): another version may give other regions."""
        return tuple(f"{name} {version}".strip() for name, version in self._versions.items())

    def open_detectors(self, recipe: Recipe) -> list[Detector]:
        """Open the detectors of all plugins (worker); SetupError when any plugin fails."""
        found: list[Detector] = []
        for plugin in self._implementing("open_detectors"):
            try:
                found += checked_detectors(self._call(plugin, "open_detectors", recipe=recipe))
            except RAISED as error:
                raise SetupError(
                    f"plugin {plugin!r} could not open its detectors: {_told(error)}",
                    remedy="Without them faces would be published. Repair it, or take it out of hooks.plugins",
                ) from error
        return found

    @property
    def adds_regions(self) -> bool:
        """Whether any plugin looks at the picture of each file: otherwise none is made for it."""
        return bool(self._implementing("add_regions"))

    def add_regions(self, image: Image, path: str) -> list[Region]:
        """Collect the regions of all plugins for one file (worker); PluginError when any plugin fails."""
        found: list[Region] = []
        for plugin in self._implementing("add_regions"):
            view = image.view()  # of its own: what one plugin draws would blind the next one
            view.flags.writeable = False
            try:
                found += checked_regions(self._call(plugin, "add_regions", image=view, path=path), view.shape)
            except MemoryError:  # the worker's limit, not the plugin's fault: reported as such, and held as well
                raise
            except RAISED as error:
                raise PluginError(f"plugin {plugin!r}, add_regions: {_told(error)}") from error
        return found

    def skip_candidate(self, path: str, size: int) -> bool:
        """Whether any plugin wants the file left alone (parent); a plugin that fails does not."""
        return any(
            self._told_or_none(plugin, "skip_candidate", path=path, size=size) is True
            for plugin in self._implementing("skip_candidate")
        )

    def file_finished(self, report: Report) -> None:
        """Tell all plugins what became of a file (parent)."""
        self._tell("file_finished", report=report)

    def daemon_started(self, roots: Sequence[str]) -> None:
        """Tell all plugins that the daemon runs (parent)."""
        self._tell("daemon_started", roots=tuple(roots))

    def daemon_stopping(self) -> None:
        """Tell all plugins that the daemon stops (parent)."""
        self._tell("daemon_stopping")

    def _implementing(self, hook: str) -> list[str]:
        if self._manager is None:
            return []
        caller = getattr(self._manager.hook, hook)
        return [name for name in self._versions if any(impl.plugin_name == name for impl in caller.get_hookimpls())]

    def _call(self, plugin: str, hook: str, **arguments: object) -> object:
        """Call one hook of one plugin; None when it returned None."""
        manager = self._manager
        if manager is None:
            return None
        others = [manager.get_plugin(name) for name in self._versions if name != plugin]
        results = manager.subset_hook_caller(hook, others)(**arguments)
        return results[0] if results else None

    def _tell(self, hook: str, **arguments: object) -> None:
        for plugin in self._implementing(hook):
            self._told_or_none(plugin, hook, **arguments)

    def _told_or_none(self, plugin: str, hook: str, **arguments: object) -> object:
        """Call, and pass a failure on to `on_error`: a photo must not wait for a plugin that only listens."""
        try:
            answer = self._call(plugin, hook, **arguments)
            if answer is not None and not isinstance(answer, bool):
                raise TypeError(f"it returned {type(answer).__name__}")
        except RAISED as error:
            self._on_error(plugin, hook, error)
            return None
        return answer


def _new_manager() -> pluggy.PluginManager:
    import pluggy  # noqa: PLC0415 - see the module docstring

    from faceblurd.plugins import hookspecs  # noqa: PLC0415 - imports pluggy

    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def _register(manager: pluggy.PluginManager, name: str) -> str:
    """Import and register one plugin; give the version of its distribution."""
    point = _entry_point(name)
    try:
        plugin = point.load()
        _refuse_class(plugin)
        manager.register(plugin, name=name)
        _refuse_useless(manager, plugin)
    except RAISED as error:  # an import runs foreign code: anything may come out of it
        raise SetupError(
            f"plugin {name!r} ({point.value}) does not load: {_told(error)}",
            remedy="Repair it, or take it out of hooks.plugins",
        ) from error
    return point.dist.version if point.dist else ""


def _entry_point(name: str) -> EntryPoint:
    from importlib.metadata import entry_points  # noqa: PLC0415 - see the module docstring

    points = list(dict.fromkeys(entry_points(group=ENTRY_POINT_GROUP, name=name)))
    if len(points) == 1:
        return points[0]
    if points:
        raise SetupError(f"plugin {name!r} is offered by {len(points)} packages", remedy="Uninstall all but one")
    known = ", ".join(sorted(entry_points(group=ENTRY_POINT_GROUP).names)) or "none"
    raise SetupError(
        f"plugin {name!r} is not installed (installed: {known})",
        remedy=f"Install it into the same environment as faceblurd, or take {name!r} out of hooks.plugins",
    )


def _refuse_class(plugin: object) -> None:
    if isinstance(plugin, type):
        raise TypeError("its entry point names a class; name a module or an instance")


def _refuse_useless(manager: pluggy.PluginManager, plugin: object) -> None:
    """Refuse a plugin without hooks (a missing detector) and wrappers (they could take regions away)."""
    callers = manager.get_hookcallers(plugin)
    if not callers:
        raise TypeError("it implements no hook; put @hookimpl on its functions")
    for impl in (impl for caller in callers for impl in caller.get_hookimpls() if impl.plugin is plugin):
        if impl.wrapper or impl.hookwrapper:
            raise TypeError(f"{impl.function.__name__} is a hook wrapper, which faceblurd does not call")


def _check_pending(manager: pluggy.PluginManager) -> None:
    """Refuse hooks that nobody specified: a misspelt `add_regions` would never be called."""
    from pluggy import PluginValidationError  # noqa: PLC0415 - see the module docstring

    try:
        manager.check_pending()
    except PluginValidationError as error:
        raise SetupError(f"a plugin misspells a hook: {error}", remedy="docs/hooks.md lists the hooks") from error


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def checked_detectors(answer: object) -> list[Detector]:
    """Give what `open_detectors` returned; TypeError when it is no list of detectors."""
    detectors = _checked_list(answer)
    for detector in detectors:
        if not isinstance(getattr(detector, "name", None), str) or not callable(getattr(detector, "detect", None)):
            raise TypeError(f"{type(detector).__name__} is no detector: it needs a name and detect(bgr)")
    return detectors


def checked_regions(answer: object, shape: tuple[int, ...]) -> list[Region]:
    """Give what `add_regions` returned for a picture of `shape`; TypeError or ValueError when it hides nothing."""
    return [_checked_region(region, height=shape[0], width=shape[1]) for region in _checked_list(answer)]


def _checked_region(region: object, *, height: int, width: int) -> Region:
    """Give the region in plain numbers: numpy's would travel to the parent, which has no numpy."""
    if not isinstance(region, Region) or not isinstance(region.found_by, str):
        raise TypeError(f"{region!r} is no Region")
    x, y, box_width, box_height = (index(number) for number in (region.x, region.y, region.width, region.height))
    plain = Region(x, y, box_width, box_height, float(region.score), region.found_by)
    inside = plain.x < width and plain.y < height and plain.x + plain.width > 0 and plain.y + plain.height > 0
    if plain.width <= 0 or plain.height <= 0 or not inside or not isfinite(plain.score):
        raise ValueError(f"{plain} hides nothing of a picture of {width}x{height}")
    return plain


def _checked_list(answer: object) -> list[Any]:
    """Refuse None: a forgotten `return` would look like 'no faces'."""
    if not isinstance(answer, list | tuple):
        raise TypeError(f"it returned {type(answer).__name__}, not a list")
    return list(answer)
