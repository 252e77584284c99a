"""``manage.py switch_requeue``: the verb ``requeue`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_requeue --help``."""

    verb = VERBS["requeue"]
