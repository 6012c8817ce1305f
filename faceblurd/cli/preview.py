"""`faceblurd preview`: what a recipe does to a photo; `faceblurd formats`: what can be read and written here."""

from __future__ import annotations

from pathlib import Path

import click

from faceblurd.cli.options import config_option, load_settings
from faceblurd.config.recipes import BUILTIN_RECIPES, DEFAULT_RECIPE, builtin_recipe
from faceblurd.errors import SetupError, UsageError
from faceblurd.imaging.figures import draw_comparison, draw_steps
from faceblurd.workers.toolbox import rehearse


@click.command()
@click.argument("image", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FIGURE.png")
@click.option(
    "--recipe", "recipe_name", metavar="NAME", help="The recipe to show  [default: the config's, or balanced]."
)
@click.option("--compare", is_flag=True, help="All recipes that are installed, a row each.")
@config_option
def preview(image: Path, to: Path, recipe_name: str | None, config_path: Path | None, *, compare: bool) -> None:
    """Draw the steps of the method on IMAGE, one beside the other: photo, grayscale, detections, a face, the result.

    The figure shows un-blurred faces: it is for you. Needs matplotlib (pip install 'faceblurd[preview]').
    """
    if compare and recipe_name is not None:
        raise UsageError("--recipe does not go with --compare", remedy="It shows all of them")
    content = image.read_bytes()
    if not compare:
        config = None if config_path is None else load_settings(config_path)
        given = config is not None and recipe_name is None
        recipe = config.own_recipe() if given and config else builtin_recipe(recipe_name or DEFAULT_RECIPE)
        draw_steps(rehearse(content, recipe, name=str(image)), str(to))
    else:
        looks = []
        for name in BUILTIN_RECIPES:
            try:
                looks.append(rehearse(content, builtin_recipe(name), name=str(image)))
            except SetupError as error:
                click.echo(f"{name} is left out: {error}", err=True)
        draw_comparison(looks, str(to))
    click.echo(str(to))
