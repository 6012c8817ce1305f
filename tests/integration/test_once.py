"""The same work once, in process: every candidate has its outcome when it returns."""

from __future__ import annotations

import asyncio
import textwrap
from contextlib import closing
from typing import TYPE_CHECKING

from faceblurd.config.recipes import builtin_recipe
from faceblurd.config.schema import HooksConfig, WorkersConfig
from faceblurd.engine import once
from faceblurd.engine.engine import Engine
from faceblurd.engine.model import Log, RetryPolicy, RootPlan
from faceblurd.engine.thread import Inline
from faceblurd.ledger.ledger import Ledger
from faceblurd.model import Mode, Report
from faceblurd.watch.scan import Selection

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PLUGIN = """
    from faceblurd.model import Region
    from faceblurd.plugins.hookspecs import hookimpl

    @hookimpl
    def add_regions(image, path):
        return [Region(0, 0, 8, 8, 1.0, "corner")]
"""


def test_a_plugins_regions_are_hidden_in_a_single_run_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin's version counts in the recipe: whoever feeds the engine must not use the recipe without it."""
    from PIL import Image

    info = tmp_path / "site" / "corner_once-1.0.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site" / "corner_once.py").write_text(textwrap.dedent(PLUGIN))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: corner-once\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[faceblurd]\ncorner_once = corner_once\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    root = tmp_path / "in"
    root.mkdir()
    (tmp_path / "out").mkdir()
    Image.effect_noise((64, 48), 40).save(root / "photo.png")
    plan = RootPlan(
        str(root), Mode.MIRROR, str(tmp_path / "out"), builtin_recipe("balanced"), Selection(("*.png",), ()),
        quiet_seconds=0.0, settle_max_seconds=0.0, hard_links_ok=False, keep_mtime=True, replace_others=False,
        take_away_held=False,
    )  # fmt: skip
    reports: list[Report] = []

    async def run(ledger: Ledger) -> None:
        engine = Engine(
            [plan], workers=WorkersConfig(), hooks=HooksConfig(plugins=("corner_once",)), ledger=ledger,
            state_dir=None, policy=RetryPolicy(1, 0.1, 1 << 20), log=Log(reports.append, lambda *_, **__: None),
        )  # fmt: skip
        try:
            engine.open_folders(lambda _: Inline())
            async for found in once.each(Inline(), once.files_below(plan, [])):
                await once.take_on(engine, engine.folders[plan.path], found)
            await once.finish(engine)
        finally:
            await engine.close()

    with closing(Ledger(None)) as ledger:
        asyncio.run(run(ledger))
    assert [(report.outcome.value, report.detail) for report in reports] == [("published", reports[0].detail)]
    assert "corner" in {region.found_by for region in reports[0].regions}
    assert (tmp_path / "out" / "photo.png").exists()
