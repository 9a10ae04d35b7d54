"""How every table of the console looks: quiet, and still to be read on a narrow terminal."""

from __future__ import annotations

from collections.abc import Collection

from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from console.page import console_url


def is_wide(out: Console) -> bool:
    """Whether there is room for times with their year and for whole ids of commands, which are 36 characters long."""
    return out.width >= 150


def sheet(*heads: str, whole: Collection[str] = ()) -> Table:
    """A table without lines; the columns that are to be `whole` are never broken."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in heads:
        table.add_column(head, overflow="fold", no_wrap=head in whole)
    return table


def command(id_: str, region: str, out: Console) -> Text:
    """A command's id, shortened where there is no room, and on a terminal a link to where the AWS console shows it."""
    style = Style(link=console_url(id_, region)) if id_ else Style()
    return Text(id_ if is_wide(out) else id_[:8], style=style)
