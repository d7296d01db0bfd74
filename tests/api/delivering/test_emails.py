"""E-mails to a real SMTP server on loopback: what is said, to whom, over TLS, and how often."""

import asyncio
import email
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from api.database_access import DatabaseAccess
from api.delivering.emails import EmailSender, Relay, checked_address, compose
from api.delivering.outcome import Outcome
from api.delivering.outside import make_outside
from api.settings import Environment, Settings, TlsMode
from domain.errors import InvalidRequestError, SettingsRefusedError
from tests.api.delivering.stage import HandClock, metrics_of, run, staged
from tests.running import free_port

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)


@dataclass
class Mailbox:
    """A mail server that keeps what it is given; `refuses` answers to a recipient instead."""

    port: int = 0
    envelopes: list[Any] = field(default_factory=list)
    over_tls: list[bool] = field(default_factory=list)
    refuses: Callable[[str], str | None] = lambda _: None
    data_answer: str = "250 kept"

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _: Any, __: Any, envelope: Any, address: str, ___: Any
    ) -> str:
        refusal = self.refuses(address)
        if refusal is None:
            envelope.rcpt_tos.append(address)
        return refusal or "250 OK"

    async def handle_DATA(self, _: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - the library's name
        if self.data_answer.startswith("250"):
            self.envelopes.append(envelope)
            self.over_tls.append(session.ssl is not None)
        return self.data_answer

    def messages(self) -> list[EmailMessage]:
        found = [email.message_from_bytes(one.content, policy=default) for one in self.envelopes]
        return [one for one in found if isinstance(one, EmailMessage)]


@contextmanager
def mail_server(**options: Any) -> Iterator[Mailbox]:
    box = Mailbox()
    box.port = free_port()
    controller = Controller(box, hostname="127.0.0.1", port=box.port, **options)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()


def relay_settings(box: Mailbox, **more: Any) -> dict[str, Any]:
    return {
        "smtp_host": "127.0.0.1",
        "smtp_port": box.port,
        "smtp_tls": "none",
        "smtp_from": "bpm@example.test",
        "smtp_s_max": 5,
    } | more


def relay(box: Mailbox, tls: TlsMode = TlsMode.NONE, **more: Any) -> Relay:
    given: dict[str, Any] = {"user": None, "password": None, "host": "127.0.0.1"} | more
    return Relay(
        port=box.port, tls=tls, sender="bpm@example.test", s_max=5, excerpt_characters_max=200, **given
    )


def test_email_says_in_words_what_happened(database: DatabaseAccess, tmp_path: Path) -> None:
    async def steps() -> None:
        with mail_server() as box:
            async with staged(database, tmp_path, **relay_settings(box)) as stage:
                north = stage.site("N\u00f6rdlich")
                await stage.channel(to=("ops@example.test", "night@example.test"))
                stage.happen(severity="critical", rule="zu hei\u00df", pack="P-1", site=north)
                await stage.turn()
                (row,) = stage.deliveries()
                assert (row["state"], row["status"]) == ("delivered", 250)
            (message,) = box.messages()
            (envelope,) = box.envelopes
        assert envelope.mail_from == "bpm@example.test"
        assert envelope.rcpt_tos == ["ops@example.test", "night@example.test"]
        assert message["Subject"] == "[critical] zu hei\u00df: P-1 at N\u00f6rdlich raised"
        assert message["To"] == "ops@example.test, night@example.test"
        assert message["Message-ID"] == f"<msg_{row['id'].hex}@example.test>"
        assert message["Auto-Submitted"] == "auto-generated"
        assert "Value: 61 \u00b0C" in message.get_content()
        assert envelope.content.isascii()

    run(steps())


def test_names_with_line_breaks_make_no_headers(database: DatabaseAccess, tmp_path: Path) -> None:
    async def steps() -> None:
        with mail_server() as box:
            async with staged(database, tmp_path, **relay_settings(box)) as stage:
                await stage.channel(to=("ops@example.test",))
                stage.happen(rule="hot\r\nBcc: evil@example.test\r\n\r\nbody", pack="P\n.\nQUIT")
                await stage.turn()
            (message,) = box.messages()
            (envelope,) = box.envelopes
        assert message["Bcc"] is None
        assert envelope.rcpt_tos == ["ops@example.test"]
        assert message["Subject"] == "[warning] hot Bcc: evil@example.test body: P . QUIT raised"

    run(steps())


@pytest.mark.parametrize(
    "address",
    [
        "ops",
        "@example.org",
        "ops@",
        "ops@example..org",
        "ops@-example.org",
        "a b@example.org",
        "ops@example.org\r\nRCPT TO:<evil@example.org>",
        "Ops <ops@example.org>",
        "ops@example.org, other@example.org",
        '"a b"@example.org',
        "\u00f6ps@example.org",
        "ops@[127.0.0.1]",
        "x" * 65 + "@example.org",
        "ops@" + "x" * 63 + "." + "y" * 63 + "." + "z" * 63 + "." + "w" * 63,
    ],
)
def test_what_is_no_plain_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidRequestError):
        checked_address(address)


@pytest.mark.parametrize("address", ["ops@example.org", "first.last+bpm@mail.example.org", "root@localhost"])
def test_plain_addresses_are_taken(address: str) -> None:
    assert checked_address(address) == address


def test_digest_lists_what_happened(database: DatabaseAccess, tmp_path: Path) -> None:
    from tests.api.delivering.test_choosing import LATE_EVENING, MORNING, NIGHT

    async def steps() -> None:
        with mail_server() as box:
            hand = HandClock(LATE_EVENING)
            settings = relay_settings(box, digest_events_max=2)
            async with staged(database, tmp_path, hand, **settings) as stage:
                await stage.channel(to=("ops@example.test",), quiet=NIGHT)
                for _ in range(3):
                    stage.happen()
                await stage.turn()
                assert box.envelopes == []
                hand.now = MORNING
                await stage.turn()
            (message,) = box.messages()
        assert message["Subject"] == "3 events in quiet hours"
        lines = message.get_content().splitlines()
        assert [line.partition(" ")[2] for line in lines[:2]] == ["[warning] too hot: all sources raised"] * 2
        assert lines[2] == "and 1 more"

    run(steps())


def test_emails_of_a_tenant_wait_for_the_hour_when_there_were_enough(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    async def steps() -> None:
        with mail_server() as box:
            settings = relay_settings(box, emails_per_hour_max=3)
            async with staged(database, tmp_path, **settings) as stage:
                await stage.channel(to=("ops@example.test",))
                for _ in range(5):
                    stage.happen()
                await stage.turn()
                assert stage.states() == ["delivered"] * 3 + ["pending"] * 2
                assert [row["attempts"] for row in stage.deliveries()] == [1, 1, 1, 0, 0]
                stage.hand.move(minutes=59)
                await stage.turn()
                assert len(box.envelopes) == 3
                stage.hand.move(minutes=1)
                await stage.turn()
                assert stage.states() == ["delivered"] * 5

    run(steps())


@pytest.mark.parametrize(
    ("answer", "state", "error"),
    [
        ("550 no such user", "dead", "the relay refused all recipients"),
        ("451 try again", "pending", "the relay refused all recipients"),
    ],
)
def test_recipients_that_are_refused_for_good_end_it(
    database: DatabaseAccess, tmp_path: Path, answer: str, state: str, error: str
) -> None:
    async def steps() -> None:
        with mail_server() as box:
            box.refuses = lambda _: answer
            async with staged(database, tmp_path, **relay_settings(box)) as stage:
                await stage.channel(to=("ops@example.test",))
                stage.happen()
                await stage.turn()
                (row,) = stage.deliveries()
                assert (row["state"], row["error"], row["status"]) == (state, error, int(answer[:3]))

    run(steps())


def test_one_recipient_that_is_refused_is_named(database: DatabaseAccess, tmp_path: Path) -> None:
    async def steps() -> None:
        with mail_server() as box:
            box.refuses = lambda address: "550 no" if address.startswith("gone") else None
            async with staged(database, tmp_path, **relay_settings(box)) as stage:
                await stage.channel(to=("ops@example.test", "gone@example.test"))
                stage.happen()
                await stage.turn()
                (row,) = stage.deliveries()
                assert (row["state"], row["answer"]) == ("delivered", "kept; refused: gone@example.test")

    run(steps())


def test_relay_that_is_down_is_tried_again(database: DatabaseAccess, tmp_path: Path) -> None:
    async def steps() -> None:
        box = Mailbox(free_port())
        async with staged(database, tmp_path, **relay_settings(box)) as stage:
            await stage.channel(to=("ops@example.test",))
            stage.happen()
            await stage.turn()
            (row,) = stage.deliveries()
            assert (row["state"], row["error"]) == ("pending", "the relay can't be used (SMTPConnectError)")

    run(steps())


def test_password_and_message_go_over_tls_alone() -> None:
    authority = trustme.CA()
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    given: list[Any] = []

    def authenticate(_: Any, __: Any, ___: Any, mechanism: str, data: Any) -> AuthResult:
        given.append((data.login, data.password))
        return AuthResult(success=data.password == b"secret", handled=False)

    options = {
        "tls_context": context,
        "require_starttls": True,
        "authenticator": authenticate,
        "auth_required": True,
    }

    async def steps(box: Mailbox) -> None:
        given_relay = relay(box, TlsMode.STARTTLS, host="localhost", user="bpm", password="secret")
        message = compose(given_relay, ["ops@example.test"], "msg_1", "subject", "text\n", AT)

        async def sent(to: Relay, trusted: ssl.SSLContext) -> Outcome:
            return await EmailSender(to, trusted).send(message, ["ops@example.test"])

        assert (await sent(given_relay, trusted)).delivered
        assert (box.over_tls, given) == ([True], [(b"bpm", b"secret")])
        wrong = relay(box, TlsMode.STARTTLS, host="localhost", user="bpm", password="wrong")
        refused = await sent(wrong, trusted)
        assert (refused.delivered, refused.status, refused.final) == (False, 535, False)
        assert not (await sent(given_relay, ssl.create_default_context())).delivered
        assert not (await sent(relay(box, host="localhost"), trusted)).delivered
        # Both sides say that TLS ends before a connection is closed.
        await asyncio.sleep(0.2)

    with mail_server(**options) as box:
        run(steps(box))
    assert len(box.envelopes) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"smtp_from": None},
        {"smtp_from": "BPM <bpm@example.test>"},
        {"smtp_user": "bpm"},
        {"smtp_user": "bpm", "smtp_password_file": "missing"},
        {"smtp_user": "bpm", "smtp_password_file": "missing", "smtp_tls": "starttls"},
        {"outside_ca_file": "missing"},
    ],
)
def test_relay_that_is_half_set_up_is_refused(
    database: DatabaseAccess, tmp_path: Path, settings: dict[str, Any]
) -> None:
    given = Settings(env=Environment.DEVELOPMENT, data_dir=tmp_path, **relay_settings(Mailbox(25)) | settings)
    with pytest.raises(SettingsRefusedError):
        make_outside(
            given,
            database.admin,
            HandClock().clock,
            metrics_of(tmp_path),
            lambda _: None,
        )
