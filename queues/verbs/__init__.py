"""What the commands do, by what they are for. ``queues.cli`` has them all in one table."""
