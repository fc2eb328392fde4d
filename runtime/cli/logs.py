"""The log of a node's process: one line a record on standard error, fields as name=value.

2024-05-31 17:00:00.123 WARNING sennit.flow: flow held flow_id=0190... attempt=3
"""

import logging
import sys
from typing import Final

# What every record has; the rest are fields that the caller gave.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class FieldsFormatter(logging.Formatter):
    """Writes the ``extra`` fields of a record behind its text."""

    default_msec_format = "%s.%03d"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = "".join(
            f" {name}={_quoted(value)}"
            for name, value in vars(record).items()
            if name not in _STANDARD
        )
        first, newline, rest = super().format(record).partition("\n")
        return f"{first}{fields}{newline}{rest}"


def log_to_stderr(level: str) -> None:
    """Send all records from ``level`` on to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FieldsFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _quoted(value: object) -> str:
    text = str(value)
    return repr(text) if not text or " " in text or "\n" in text else text
