"""A verb of ``queues.cli`` as a Django command."""

from __future__ import annotations

import argparse
import sys
from typing import Any, ClassVar, TextIO, cast

from django.core.management.base import BaseCommand, CommandParser

from queues import cli
from queues.console import Console
from queues.verbs.common import Verb


class VerbCommand(BaseCommand):
    """Runs one verb, as a client of the switch: the process of a command has none of its own."""

    verb: ClassVar[Verb]
    requires_system_checks = ()

    def __init_subclass__(cls) -> None:
        cls.help = cls.verb.help

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the verb's arguments."""
        cli.add_arguments(self.verb, parser)

    def handle(self, **options: Any) -> None:
        """Run the verb; exit with its code if that is not 0."""
        self.stdout.ending = self.stderr.ending = ""  # lines come with their newline
        self.stderr.style_func = None
        console = Console(
            None if sys.stdout is None else cast(TextIO, self.stdout),
            None if sys.stderr is None else cast(TextIO, self.stderr),
            json=options["json"],
            colour=not options["no_color"],
        )
        code = cli.run(self.verb, argparse.Namespace(**options), console)
        if code:
            sys.exit(code)
