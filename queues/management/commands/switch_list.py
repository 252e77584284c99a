"""``manage.py switch_list``: the verb ``list`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_list --help``."""

    verb = VERBS["list"]
