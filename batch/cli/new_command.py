"""`texbatch new`: its options, and what it says of the manifest it wrote."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

import click

from batch.cli.log import problems
from batch.cli.options import Location, Option
from batch.core.units import counted
from batch.core.visible import visible

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    params=[
        click.Argument(["products_dir"], type=Location()),
        click.Argument(["textures_dir"], type=Location()),
        Option("--out", env=False, type=Location(), required=True, metavar="FILE",
               help="The manifest to write: .xlsx, .csv or .yaml. A file that is there is not written over."),
        Option("--prompt", env=False, metavar="TEXT",
               help="The prompt of every row; takes {product} and {texture}, the images' names.  "
                    "[default: Apply the {texture} texture to the {product}]"),
    ],
)  # fmt: skip
def new(products_dir: Path, textures_dir: Path, *, out: Path, prompt: str | None) -> None:
    """Write a manifest of every image in PRODUCTS_DIR with every image in TEXTURES_DIR.

    Images in subfolders are taken too. A workbook or a CSV has one row a pair, with the columns id, image_1, image_2, prompt,
    product and texture; YAML has one line an image, and combines them when it is read. Sends nothing.
    """
    from batch.maintenance.new_manifest import write_new  # noqa: PLC0415  start-up time

    made = write_new(products_dir, textures_dir, out, prompt)
    problems(made.left_out)
    sizes = f"{counted(made.products, 'product')} with {counted(made.textures, 'texture')}"
    click.echo(f"{visible(str(out))}: {sizes}, {counted(made.rows, 'row')}.")
    name = quote(visible(str(out)))
    click.echo(f"Check it:   texbatch validate {name}")
    click.echo(f"Try it:     texbatch run {name} --local --out {quote(visible(str(out.with_name('out'))))}")
