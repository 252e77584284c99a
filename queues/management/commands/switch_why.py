"""``manage.py switch_why``: the verb ``why`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_why --help``."""

    verb = VERBS["why"]
