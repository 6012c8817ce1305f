"""The entry point. Kept this small: `startup.prepare` comes before any import that takes long."""

from __future__ import annotations


def main() -> None:
    """Run the `faceblurd` command."""
    from faceblurd import startup  # noqa: PLC0415 - see the module docstring

    startup.prepare()
    from faceblurd.cli import run_command  # noqa: PLC0415 - see the module docstring

    try:
        run_command()
    except SystemExit as end:
        startup.ended(end.code)
        raise


if __name__ == "__main__":
    main()
