"""The entry point. Kept this small because every worker process imports it too (multiprocessing's spawn)."""

from __future__ import annotations


def main() -> None:
    """Run the `faceblurd` command."""
    from faceblurd import startup  # noqa: PLC0415 - see the module docstring

    startup.prepare()
    from faceblurd.cli import run_command  # noqa: PLC0415 - see the module docstring

    run_command()


if __name__ == "__main__":
    main()
