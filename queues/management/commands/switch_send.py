"""``manage.py switch_send``: the verb ``send`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_send --help``."""

    verb = VERBS["send"]
