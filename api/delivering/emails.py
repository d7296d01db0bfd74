"""E-mails through the operator's relay."""

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

import aiosmtplib

from api.delivering.outcome import Outcome, excerpt
from api.settings import TlsMode
from domain.errors import InvalidRequestError

_ADDRESS: Final = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
"""As HTML's input fields have it: no quoting, no comments, nothing that could end a header."""

_ADDRESS_CHARACTERS_MAX: Final = 254
_BREAKS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_SUBJECT_CHARACTERS_MAX: Final = 200
_PERMANENT: Final = 500

_POLICY: Final = SMTP.clone(cte_type="7bit")
"""Relays that take 7 bits only are there still; everything else is encoded."""


@dataclass(frozen=True, slots=True)
class Relay:
    """The operator's mail server, and what a message to it may cost."""

    host: str
    port: int
    tls: TlsMode
    user: str | None
    password: str | None
    sender: str
    s_max: float
    excerpt_characters_max: int


def checked_address(text: str) -> str:
    """An e-mail address. Raises InvalidRequestError."""
    if len(text) > _ADDRESS_CHARACTERS_MAX or not _ADDRESS.fullmatch(text):
        raise InvalidRequestError("expected plain e-mail addresses, such as ops@example.org", field="to")
    return text


def one_line(text: str) -> str:
    """Text that stays on its line: what breaks lines becomes a space.

    >>> one_line("a" + chr(13) + chr(10) + "Bcc: x")
    'a Bcc: x'
    """
    return _BREAKS.sub(" ", text).strip()


def compose(
    relay: Relay, recipients: Sequence[str], message_id: str, subject: str, text: str, at: datetime
) -> EmailMessage:
    """The message; the policy refuses headers with line breaks, and there are none to refuse."""
    message = EmailMessage(policy=_POLICY)
    message["From"] = relay.sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = one_line(subject)[:_SUBJECT_CHARACTERS_MAX]
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{message_id}@{relay.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text)
    return message


class EmailSender:
    """Sends messages through the relay, each over a connection of its own."""

    def __init__(self, relay: Relay, trusted: ssl.SSLContext) -> None:
        self.relay = relay
        self._trusted = trusted

    async def send(self, message: EmailMessage, recipients: Sequence[str]) -> Outcome:
        """What the relay answered. It is delivered when the relay took it for at least one recipient."""
        relay = self.relay
        try:
            refused, answered = await aiosmtplib.send(
                message,
                sender=relay.sender,
                recipients=list(recipients),
                hostname=relay.host,
                port=relay.port,
                username=relay.user,
                password=relay.password,
                use_tls=relay.tls is TlsMode.TLS,
                start_tls=relay.tls is TlsMode.STARTTLS,
                tls_context=None if relay.tls is TlsMode.NONE else self._trusted,
                timeout=relay.s_max,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [one.code for one in error.recipients]
            return self._failed(
                "the relay refused all recipients", min(codes), final=min(codes) >= _PERMANENT
            )
        except aiosmtplib.SMTPResponseException as error:
            final = error.code >= _PERMANENT and not isinstance(error, aiosmtplib.SMTPAuthenticationError)
            return self._failed(f"the relay answered: {error.message}", error.code, final=final)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return Outcome(
                delivered=False, error=f"the relay can't be used ({type(error).__name__})", rests=True
            )
        left_out = f"; refused: {', '.join(sorted(refused))}" if refused else ""
        return Outcome(delivered=True, status=250, answer=self._excerpt(answered + left_out))

    def _failed(self, error: str, status: int, *, final: bool) -> Outcome:
        return Outcome(
            delivered=False, status=status, error=self._excerpt(error), final=final, rests=not final
        )

    def _excerpt(self, text: str) -> str:
        return excerpt(text, self.relay.excerpt_characters_max)
