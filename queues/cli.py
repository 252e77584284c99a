"""The commands, one table of verbs: ``message-cli VERB``, and ``manage.py switch_VERB``.

Exit codes: 0 success, 1 the switch or a handler refused or did not answer, 2 wrong usage,
74 results cannot be written, 130 interrupted, 141 whoever read the results has gone. Results go to
stdout, all else to stderr.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from queues.client import DEFAULT_URL
from queues.console import Console, OutputError, UsageError, drop_output, hold_streams
from queues.core.errors import SwitchError
from queues.verbs import calling, looking, serving, tidying
from queues.verbs.common import Terminated, Verb

#: Exit code when results cannot be written, as sysexits.h has it.
NO_OUTPUT = 74


def add_arguments(verb: Verb, parser: argparse.ArgumentParser) -> None:
    """Declare the verb's own arguments, and those that all have."""
    verb.arguments(parser)
    parser.add_argument(
        "--url",
        default=os.environ.get("SWITCH_URL") or DEFAULT_URL,
        help="address of the switch (default: $SWITCH_URL, else %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="write results and errors as JSON")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``message-cli``. Returns the exit code; argparse exits with 2 by itself."""
    parser = argparse.ArgumentParser(
        prog="message-cli", description="Use and look after a message switch."
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in VERBS.values():
        add_arguments(verb, verbs.add_parser(verb.name, help=verb.help, description=verb.help))
    options = parser.parse_args(arguments)
    return run(VERBS[options.verb], options)


def run(verb: Verb, options: argparse.Namespace, console: Console | None = None) -> int:
    """Do what the options ask for. Returns the exit code."""
    hold_streams()
    console = console or Console(json=options.json)
    try:
        _check_text(options)
        return verb.run(console, options)
    except SwitchError as error:
        console.refuse(error)
        return 1
    except UsageError as error:
        console.fail("usage", str(error))
        return 2
    except OutputError as error:
        console.fail("output", f"The results cannot be written: {error}.")
        drop_output()
        return NO_OUTPUT
    except Terminated:
        return 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        drop_output()
        return 141


def _check_text(options: argparse.Namespace) -> None:
    """Refuse bytes of the command line that are not UTF-8, where they are to be sent as text."""
    for name, value in vars(options).items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str) and name not in ("payload", "body", "program"):
                try:
                    each.encode()
                except UnicodeEncodeError as error:
                    raise UsageError(f"{name} is not UTF-8 text.") from error


VERBS: dict[str, Verb] = {
    verb.name: verb for verb in (*looking.VERBS, *calling.VERBS, *serving.VERBS, *tidying.VERBS)
}

if __name__ == "__main__":
    sys.exit(main())
