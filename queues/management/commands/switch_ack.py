"""``manage.py switch_ack``: the verb ``ack`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_ack --help``."""

    verb = VERBS["ack"]
