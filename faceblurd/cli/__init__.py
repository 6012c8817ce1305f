"""The commands: each reads its arguments, builds what it needs, calls it, and says what came of it.

Heavy imports stand inside the commands, so that `--help` is quick and nothing is loaded that is not used.
"""

from __future__ import annotations

import os
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
from faceblurd.cli.status import health, status
from faceblurd.errors import Exit, FaceblurdError


class _Group(click.Group):
    """The commands, and below them where the documents are: a path that is there, however this was installed."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the end of the help."""
        from faceblurd.cli.options import installed  # noqa: PLC0415 - for --help only

        self.epilog = (
            "\b\nExit codes: 0 all done, 3 some files held, 2 usage, 78 configuration, 1 anything else.\n"
            "Start: faceblurd run --watch INBOX --to BLURRED     (no config needed)\n"
            f"Then:  every option:     {installed('share/faceblurd/config.example.yaml')}\n"
            f"       as a service:     {installed('share/doc/faceblurd/install.md')}\n"
            "       and beside that:  cli.md, config.md, formats.md, hooks.md, security.md\n"
        )
        super().format_epilog(ctx, formatter)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="faceblurd")
def main() -> None:
    """Keep faces out of published photos.

    faceblurd watches folders and blurs the faces in every photo that arrives there, in place or into a mirror tree.
    What it cannot make safe it holds back, and says so.
    """


COMMANDS = (
    run, blur, scan, status, health, explain, redo, quarantine, preview, check_config, hooks, formats, doctor,
)  # fmt: skip
for command in COMMANDS:
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
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # nobody reads any more (`| head`); the interpreter would try once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.OTHER)
    except OSError as error:  # a file or folder that went away or is not ours to use
        click.echo(f"faceblurd: {error}", err=True)
        sys.exit(Exit.OTHER)
    sys.exit(code or Exit.OK)
