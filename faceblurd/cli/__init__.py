"""The commands: each reads its arguments, builds what it needs, calls it, and says what came of it.

One file a command, which is loaded when it is asked for: so `--help` is quick, and nothing is loaded that is not used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

import click

from faceblurd import __version__
from faceblurd.cli.options import installed
from faceblurd.errors import Exit, FaceblurdError
from faceblurd.startup import give_up

# name: (file, what it does in one line)
COMMANDS: Final = {
    "run": ("service", "Watch the roots and blur what arrives, until SIGTERM."),
    "blur": ("blur", "Blur the faces in PATHs (photos and folders) once."),
    "scan": ("service", "Blur once what is new in the roots of a config, then exit."),
    "status": ("status", "Show how every root is, what waits, and what is held and why."),
    "health": ("status", "Tell by the exit code how the service is, for a monitor."),
    "explain": ("explain", "Say what happened to a photo or its result, and why."),
    "redo": ("redo", "Do photos, folders or a whole root once more."),
    "quarantine": ("quarantine", "See files that could not be made safe, and decide about them."),
    "preview": ("preview", "Draw what a recipe does to a photo, step by step."),
    "check-config": ("config", "Read a config as the service would, and load what it names."),
    "hooks": ("hooks", "Try out hooks."),
    "formats": ("formats", "Show what can be read and written here, by doing it."),
    "doctor": ("doctor", "Look for what could keep the service from its work."),
}


class _Group(click.Group):
    """The commands, and below them where the documents are: a path that is there, however this was installed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names, in the order in which one meets them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command; None when there is none of that name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"{__name__}.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does, without loading any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the end of the help."""
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
        give_up(sys.stdout.fileno())
        sys.exit(Exit.OTHER)
    except OSError as error:  # a file or folder that went away or is not ours to use
        click.echo(f"faceblurd: {error}", err=True)
        sys.exit(Exit.OTHER)
    sys.exit(code or Exit.OK)
