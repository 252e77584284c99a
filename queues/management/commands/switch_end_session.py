"""``manage.py switch_end_session``: the verb ``end-session`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_end_session --help``."""

    verb = VERBS["end-session"]
