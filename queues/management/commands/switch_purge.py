"""``manage.py switch_purge``: the verb ``purge`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_purge --help``."""

    verb = VERBS["purge"]
