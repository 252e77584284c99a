"""``manage.py switch_destroy``: the verb ``destroy`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_destroy --help``."""

    verb = VERBS["destroy"]
