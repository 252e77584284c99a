"""``manage.py switch_top``: the verb ``top`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_top --help``."""

    verb = VERBS["top"]
