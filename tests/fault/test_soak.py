"""A short soak: writers and every fault at once, and at the end every file is right (benchmarks/soak.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

CI = bool(os.environ.get("CI"))
MINUTES = 2.0 if CI else 0.5


@pytest.fixture(scope="module")
def result(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The soak's own account, whether or not it was content with it."""
    folder = tmp_path_factory.mktemp("soak")
    script, account = repository / "benchmarks" / "soak.py", folder / "result.json"
    command = [sys.executable, script, "--minutes", str(MINUTES), "--json", account, "--keep-log", folder / "log"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(folder)}) as soak:
        try:
            _, said = soak.communicate(timeout=1000)
        except subprocess.TimeoutExpired:
            soak.terminate()  # it ends its daemon then
            raise
    assert account.exists(), said.decode()[-3000:]
    with account.open(encoding="utf-8") as file:
        return dict(json.load(file))


@pytest.mark.slow
@pytest.mark.timeout(1100)
def test_every_fault_came_and_everybody_wrote(result: dict[str, Any]) -> None:
    assert [kind for kind, count in result["faults"].items() if not count] == []
    assert {"copy", "move", "slow", "edit", "rename", "delete"} <= set(result["writers"])
    if CI:
        assert result["left_out"] == []
        assert {"rsync", "rsync_in_place"} <= set(result["writers"])
        assert {"root unmounted", "mirror unmounted", "target disk full", "state disk full"} <= set(result["faults"])


@pytest.mark.slow
@pytest.mark.timeout(1100)
@pytest.mark.parametrize(
    "what",
    [
        "lost", "stale", "shown", "torn", "extra", "resurrected", "seen shown or torn meanwhile", "staging files",
        "below empty mount points", "published twice", "done again in the calm", "bad exit",
    ],
)  # fmt: skip
def test_at_the_end_nothing_is(result: dict[str, Any], what: str) -> None:
    assert result["soak"]["photos at the end"] > 20
    assert result["found"][what] == []
