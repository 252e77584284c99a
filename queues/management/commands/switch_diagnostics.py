"""``manage.py switch_diagnostics``: the verb ``diagnostics`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_diagnostics --help``."""

    verb = VERBS["diagnostics"]
