"""A Django project that serves the message switch."""
