"""The commands. Each builds what it needs and calls it; none holds logic of its own.

Heavy imports stand inside the commands, so that `--help` is quick and nothing is loaded that is not used.
"""

from __future__ import annotations

import sys

import click

from faceblurd import __version__
from faceblurd.cli.blur import blur
from faceblurd.cli.config import check_config
from faceblurd.cli.doctor import doctor
from faceblurd.cli.explain import explain
from faceblurd.cli.formats import formats
from faceblurd.cli.hooks import hooks
from faceblurd.cli.preview import preview
from faceblurd.cli.quarantine import quarantine
from faceblurd.cli.redo import redo
from faceblurd.cli.service import run, scan
from faceblurd.cli.status import status
from faceblurd.errors import Exit, FaceblurdError

EPILOG = """\b
Exit codes: 0 all done, 3 some files held, 2 usage, 78 configuration, 1 anything else.
Start: faceblurd run --watch INBOX --to BLURRED     (no config needed)
Then:  config.example.yaml explains every option; docs/install.md makes it a service.
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="faceblurd")
def main() -> None:
    """Keep faces out of published photos.

    faceblurd watches folders and blurs the faces in every photo that arrives there, in place or into a mirror tree.
    What it cannot make safe it holds back, and says so.
    """


for command in (run, blur, scan, status, explain, redo, quarantine, preview, check_config, hooks, formats, doctor):
    main.add_command(command)


def run_command() -> None:
    """Run the command line and exit with the documented code."""
    try:
        code = main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(Exit.USAGE)
    except click.Abort:
        sys.exit(130)
    except FaceblurdError as error:
        for one in (error, *getattr(error, "others", ())):
            click.echo(f"faceblurd: {one}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(Exit.OTHER)
    except OSError as error:  # a file or folder that went away or is not ours to use
        click.echo(f"faceblurd: {error}", err=True)
        sys.exit(Exit.OTHER)
    sys.exit(code or Exit.OK)
