"""``manage.py switch_resume``: the verb ``resume`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_resume --help``."""

    verb = VERBS["resume"]
