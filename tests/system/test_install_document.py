"""docs/install.md, followed to the letter by a newcomer in a fresh Debian 12: its own lines are run, in one shell.

Nothing starts a systemd here: the lines with `systemctl` and `journalctl` are left out, and the unit's command is run
as the unit's user instead.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

FENCE = re.compile(r"^```(sh|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SYSTEMD = re.compile(r"^(systemctl|journalctl) .*\n", re.MULTILINE)
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "build", "dist", ".*_cache", "__pycache__", "*.so", "state")
ENVIRONMENT = {"HOME": "/root", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
IN_ROOT = """
set -e
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
for folder in "$@"; do mkdir -p "$0$folder"; mount --bind "$folder" "$0$folder"; done
exec chroot "$0" bash -eu /steps
"""
START = """
umask 077   # the worst that a newcomer's shell may have
export SOURCE=/root/source DEBIAN_FRONTEND=noninteractive
"""
CONFIG = "cat > /etc/faceblurd/config.yaml <<'YAML'\n{}YAML\n"
SERVICE = """
command=$(sed -n 's/^ExecStart=//p' /etc/systemd/system/faceblurd.service)
user=$(sed -n 's/^User=//p' /etc/systemd/system/faceblurd.service)
setpriv --reuid="$user" --regid="$user" --clear-groups -- $command 2> /root/log & service=$!
until faceblurd health --config /etc/faceblurd/config.yaml; do kill -0 $service; sleep 0.2; done
cd /root && cp source/demo/astronaut.jpg some-photo.jpg
"""
CHECKS = """
until test -e /srv/photos/blurred/some-photo.jpg; do kill -0 $service; sleep 0.2; done
test "$(stat -c %U /srv/photos/blurred/some-photo.jpg)" = faceblurd
test -f "$(sed -n 's#^Documentation=file://##p' /etc/systemd/system/faceblurd.service)"
for file in $(faceblurd --help | grep -o '/opt/faceblurd/share/[^ ]*'); do test -f "$file"; echo "help: $file"; done
test -f /usr/local/share/man/man1/faceblurd.1
systemd-analyze verify --man=no faceblurd.service
kill $service && wait $service
"""
LEFT = (
    "find /etc /opt /usr /var/lib /srv -iname '*faceblurd*' -not -path '*/photos/*'; getent passwd faceblurd || true\n"
)


def document() -> list[tuple[str, str]]:
    """Give language and text of the document's blocks."""
    path = Path(__file__).resolve().parents[2] / "docs" / "install.md"
    return FENCE.findall(path.read_text(encoding="utf-8"))


def steps() -> str:
    """Give one script: the document's lines, and what a person does and sees between them."""
    blocks = [CONFIG.format(text) if language == "yaml" else text for language, text in document()]
    program, unit, config, roots, drop_in, use, uninstall = blocks
    script = [START, program, unit, config, roots, drop_in, SERVICE, use, CHECKS, uninstall, "echo LEFT\n", LEFT]
    return "set -x\n" + SYSTEMD.sub("", "\n".join(script))


@pytest.fixture
def debian(tmp_path: Path) -> Iterator[Path]:
    """A fresh Debian 12, with nothing but what it needs to reach the archives that this machine uses."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        assert not os.environ.get("CI"), "root and debootstrap are there in CI: .ci/run installs it"
        pytest.skip("needs root and debootstrap")
    root = tmp_path / "root"
    command = [
        "debootstrap",
        "--variant=minbase",
        "--include=systemd,ca-certificates",
        "bookworm",
        str(root),
        *mirror(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        assert not os.environ.get("CI"), done.stdout[-3000:]
        pytest.skip(f"no Debian to be had here: {done.stdout.strip().splitlines()[-1:]}")
    for file in ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf"):
        if os.path.exists(file):
            shutil.copy(file, f"{root}{file}")
    yield root
    shutil.rmtree(root, ignore_errors=True)


def mirror() -> list[str]:
    """Give the archive that this machine's apt uses, if it has one."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Codename: bookworm"]
    if shutil.which("apt-get") is None:
        return []
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()[:1]


def of_pip(root: Path) -> tuple[dict[str, str], list[str]]:
    """Give the settings by which pip finds its packages here as variables, and the local folders that they name."""
    found = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    listed = subprocess.run(["pip", "config", "list"], capture_output=True, text=True, check=False).stdout
    for section, name, value in re.findall(r"^(global|install)\.([\w-]+)='(.*)'$", listed, re.MULTILINE):
        found.setdefault(f"PIP_{name.upper().replace('-', '_')}", value.replace("\\n", " "))
        assert section
    words = [word.removeprefix("file://") for value in found.values() for word in value.split()]
    for file in {word for word in words if os.path.isfile(word) and not os.path.exists(f"{root}{word}")}:
        os.makedirs(os.path.dirname(f"{root}{file}"), exist_ok=True)
        shutil.copy(file, f"{root}{file}")
    folders = {os.path.dirname(word) if word.endswith("/simple") else word for word in words if os.path.isdir(word)}
    return found, sorted(folders)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_document_leads_from_a_fresh_debian_to_a_published_photo_and_back(debian: Path, repository: Path) -> None:
    source = debian / "root" / "source"
    shutil.copytree(repository, source, ignore=LEFT_OUT)
    commit = ["-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "-q", "-m", "as it is"]
    for arguments in (["init", "-q"], ["add", "-A"], commit):
        subprocess.run(["git", *arguments], cwd=source, check=True)
    (debian / "steps").write_text(steps())
    variables, folders = of_pip(debian)
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", IN_ROOT, str(debian), *folders]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=ENVIRONMENT | variables, stdin=subprocess.DEVNULL
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    assert done.stdout.count("help: /opt/faceblurd/share/") == 2
    assert done.stdout.partition("LEFT\n")[2] == ""


def test_only_lines_for_systemd_are_left_out_and_every_block_has_its_place() -> None:
    assert [language for language, _ in document()] == ["sh", "sh", "yaml", "sh", "sh", "sh", "sh"]
    left_out = SYSTEMD.findall("\n".join(text for _, text in document()))
    assert sorted(left_out) == ["journalctl", *["systemctl"] * 5]
