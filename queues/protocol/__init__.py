"""The wire: what requests look like and how answers are written. No Django, no I/O."""
