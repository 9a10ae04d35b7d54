"""What a command prints."""

import io
from argparse import ArgumentParser

from rich.console import Console


class Screen:
    """A terminal's out and err, as text; `width` is its columns."""

    def __init__(self, width=160):
        plain = {"markup": False, "highlight": False, "no_color": True, "width": width}
        self._out, self._err = io.StringIO(), io.StringIO()
        self.out, self.err = Console(file=self._out, **plain), Console(file=self._err, **plain)

    @property
    def text(self):
        return self._out.getvalue()

    @property
    def complaint(self):
        return self._err.getvalue()


def run(command, client, *arguments, width=160):
    """The exit code, what was printed, and what was complained about."""
    parser, screen = ArgumentParser(), Screen(width)
    command.add_arguments(parser)
    code = command.main(parser.parse_args(arguments), client, screen.out, screen.err)
    return code, screen.text, screen.complaint
