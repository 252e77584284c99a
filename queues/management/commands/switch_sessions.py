"""``manage.py switch_sessions``: the verb ``sessions`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_sessions --help``."""

    verb = VERBS["sessions"]
