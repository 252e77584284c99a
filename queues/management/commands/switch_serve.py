"""``manage.py switch_serve``: the verb ``serve`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_serve --help``."""

    verb = VERBS["serve"]
