"""The pure state machine of the switch: no I/O, no clock, no randomness; time is ``now=``."""
