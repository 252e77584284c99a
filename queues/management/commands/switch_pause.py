"""``manage.py switch_pause``: the verb ``pause`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_pause --help``."""

    verb = VERBS["pause"]
