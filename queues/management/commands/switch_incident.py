"""``manage.py switch_incident``: the verb ``incident`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_incident --help``."""

    verb = VERBS["incident"]
