"""``manage.py switch_tail``: the verb ``tail`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_tail --help``."""

    verb = VERBS["tail"]
