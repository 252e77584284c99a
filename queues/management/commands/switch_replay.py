"""``manage.py switch_replay``: the verb ``replay`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_replay --help``."""

    verb = VERBS["replay"]
