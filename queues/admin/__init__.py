"""The pages of the switch inside the admin, with actions for operators."""

from .diagnostics import DiagnosticsAdmin

__all__ = ["DiagnosticsAdmin"]
