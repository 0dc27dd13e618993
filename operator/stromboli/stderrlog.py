"""The log of a process of ours, on standard error."""

from __future__ import annotations

import logging
import sys

from stromboli import visible


def log_to_stderr() -> None:
    """Log from INFO on, one line for each message and its traceback."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Visible("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class _Visible(logging.Formatter):
    """Log lines in which terminal control characters are made visible, since they may quote untrusted text."""

    def format(self, record: logging.LogRecord) -> str:
        return visible.text(super().format(record))
