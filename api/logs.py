"""Logs: one JSON object a line on standard error, without secrets, whoever writes them."""

import logging
import re
import sys
from typing import IO, Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRETS: Final = re.compile(
    r"(?P<said>\bBearer\s+|\bBasic\s+|://[^/\s:@\"]*:|\b(?:password|secret|token|ticket|api_key)\"?\s*[=:]\s*\"?)"
    r"(?P<secret>[^\s\"'@,;&]+)"
    r"|eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*",
    re.IGNORECASE,
)
"""What looks like a credential: behind the words that announce one, in an address, or as a token looks."""

HIDDEN: Final = "[redacted]"


def without_secrets(text: str) -> str:
    """The text with whatever looks like a credential left out.

    >>> without_secrets("Authorization: Bearer abc.def")
    'Authorization: Bearer [redacted]'
    >>> without_secrets("postgresql://me:hunter2@host/db password=x")
    'postgresql://me:[redacted]@host/db password=[redacted]'
    """
    return _SECRETS.sub(lambda found: (found["said"] or "") + HIDDEN, text)


def _hide_secrets(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {
        name: without_secrets(value) if isinstance(value, str) else value for name, value in event.items()
    }


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger of events with fields. Before `configure` it writes where the standard library's loggers do.

    structlog's own default would be standard output, which is for results.
    """
    wrapped: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name), wrapper_class=structlog.stdlib.BoundLogger
    )
    return wrapped


def configure(stream: IO[str] | None = None) -> None:
    """Let every logger of the process write so, those of libraries too."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _hide_secrets,
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # It tells each step of each connection, and every few seconds one looks at the topics. What goes wrong it raises
    # too, and whoever asked says it in one line.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
