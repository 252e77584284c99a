"""``manage.py switch_call``: the verb ``call`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_call --help``."""

    verb = VERBS["call"]
