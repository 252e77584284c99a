"""``manage.py switch_move``: the verb ``move`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_move --help``."""

    verb = VERBS["move"]
