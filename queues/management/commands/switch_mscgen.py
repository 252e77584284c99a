"""``manage.py switch_mscgen``: the verb ``mscgen`` of ``queues.cli``."""

from queues.cli import VERBS
from queues.management.verb_command import VerbCommand


class Command(VerbCommand):
    """See ``manage.py switch_mscgen --help``."""

    verb = VERBS["mscgen"]
