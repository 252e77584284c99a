"""One module for each verb of ``queues.cli``."""
