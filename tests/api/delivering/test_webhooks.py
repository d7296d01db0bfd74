"""Webhooks from the alert log to a real receiver: signed, retried, given up, replayed; each event once a channel."""

import asyncio
import base64
import hashlib
import hmac
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from api.database_access import DatabaseAccess
from domain.channels import DeliveryState
from storage.delivering import Ended, Standing, claim, end, take
from tests.api.delivering.receiver import OK, Answer, Received, receiving, status
from tests.api.delivering.stage import run, staged


def is_signed_by(secret: str, one: Received) -> bool:
    """Standard Webhooks as its specification has it, written once more."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{one.id}.{one.headers['webhook-timestamp']}.".encode() + one.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return f"v1,{expected}" in one.headers["webhook-signature"].split(" ")


def test_event_arrives_signed_and_says_what_live_streams_say(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            async with staged(database, tmp_path) as stage:
                made = await stage.channel(receiver.url)
                seq = stage.happen(severity="critical", pack="P-1")
                await stage.turn()
                assert stage.states() == ["delivered"]
            (one,) = receiver.received
        assert is_signed_by(made.secret, one)
        assert not is_signed_by(
            Webhook(made.secret)._SECRET_PREFIX + base64.b64encode(b"other").decode(), one
        )
        said = one.said
        assert (said["type"], said["data"]["seq"]) == ("alert.raised", seq)
        assert said["data"]["event"]["value"] == 61
        alert = said["data"]["alert"]
        assert (alert["pack"], alert["severity"], alert["rule"]) == ("P-1", "critical", "too hot")
        assert not {"tenant_id", "pack_id", "alert_no"} & alert.keys()
        assert one.headers["content-type"] == "application/json"
        assert int(one.headers["webhook-timestamp"]) == int(stage.hand.now.timestamp())

    run(steps())


def test_signature_is_that_of_the_published_example() -> None:
    """The example of the specification's libraries."""
    key, name, body = (
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        b'{"test": 2432232314}',
    )
    signed = f"{name}.1614265330.".encode() + body
    found = base64.b64encode(hmac.new(base64.b64decode(key), signed, hashlib.sha256).digest()).decode()
    assert found == "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert is_signed_by(
        key,
        Received(
            "/",
            {"webhook-id": name, "webhook-timestamp": "1614265330", "webhook-signature": f"v1,{found}"},
            body,
        ),
    )


def test_attempts_that_fail_wait_longer_each_time_and_keep_their_id_and_body(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            receiver.answer = lambda _: status(500) if len(receiver.received) < 5 else OK
            async with staged(database, tmp_path) as stage:
                await stage.channel(receiver.url)
                stage.happen()
                waits = []
                for _ in range(5):
                    await stage.turn()
                    (row,) = stage.deliveries()
                    if row["state"] == "pending":
                        waits.append((row["due_at"] - stage.hand.now).total_seconds())
                        stage.hand.now = row["due_at"] - timedelta(milliseconds=1)
                        await stage.turn()
                        stage.hand.move(milliseconds=2)
                assert (row["state"], row["attempts"], row["error"]) == ("delivered", 5, None)
        assert len(waits) == 4
        for wait_s, full_s in zip(waits, (5, 15, 45, 135), strict=True):
            assert full_s / 2 <= wait_s <= full_s
        assert len({one.id for one in receiver.received}) == 1
        assert len({one.body for one in receiver.received}) == 1
        assert len({one.headers["webhook-timestamp"] for one in receiver.received}) == 5

    run(steps())


def test_receiver_that_asks_for_time_is_given_it(database: DatabaseAccess, tmp_path: Path) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            receiver.answer = lambda _: status(429, Retry_After="300")
            async with staged(database, tmp_path) as stage:
                await stage.channel(receiver.url)
                stage.happen()
                await stage.turn()
                (row,) = stage.deliveries()
                assert row["due_at"] - stage.hand.now == timedelta(seconds=300)

    run(steps())


def test_delivery_is_dead_after_its_attempts_and_lives_again_when_it_is_replayed(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            receiver.answer = lambda _: status(400)
            async with staged(database, tmp_path, delivery_attempts_max=3) as stage:
                await stage.channel(receiver.url)
                stage.happen()
                await stage.turn_until(1, "dead")
                (row,) = stage.deliveries()
                assert (row["attempts"], row["status"], row["answer"]) == (3, 400, "no")
                assert row["error"] == "answered 400"
                stage.hand.move(hours=1)
                await stage.replay(row["id"])
                await stage.turn()
                assert stage.states() == ["pending"], "attempts are counted anew"
                receiver.answer = lambda _: OK
                await stage.turn_until(1)
        assert len({one.id for one in receiver.received}) == 1

    run(steps())


def test_order_is_kept_while_the_receiver_is_down(database: DatabaseAccess, tmp_path: Path) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            port, url = receiver.port, receiver.url
        async with staged(database, tmp_path) as stage:
            await stage.channel(url)
            sent = [stage.happen() for _ in range(5)]
            for _ in range(3):
                await stage.turn()
                stage.hand.move(minutes=5)
            rows = stage.deliveries()
            # One feels its way; the others wait behind it.
            assert [row["attempts"] for row in rows] == [3, 0, 0, 0, 0]
            assert rows[0]["error"] == "the receiver can't be reached"
            with receiving(port) as receiver:
                await stage.turn_until(5)
                assert [one.said["data"]["seq"] for one in receiver.received] == sent

    run(steps())


def test_channel_that_goes_elsewhere_takes_what_waits_along_in_its_order(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    async def steps() -> None:
        with receiving() as former, receiving() as receiver:
            former.answer = lambda _: status(500, Retry_After="600")
            async with staged(database, tmp_path) as stage:
                made = await stage.channel(former.url)
                sent = [stage.happen() for _ in range(3)]
                await stage.turn()
                assert len(former.received) == 1
                await stage.edit(made, url=receiver.url)
                await stage.turn()
                assert [one.said["data"]["seq"] for one in receiver.received] == sent
                assert len(former.received) == 1

    run(steps())


@pytest.mark.parametrize("late", [status(410), status(500, Retry_After="600"), OK])
def test_late_answer_of_a_former_receiver_says_nothing_of_the_new_one(
    database: DatabaseAccess, tmp_path: Path, late: Answer
) -> None:
    async def steps() -> None:
        answering = threading.Event()

        def answer_late(_: Received) -> Answer:
            answering.wait(20)
            return late

        with receiving() as former, receiving() as receiver:
            former.answer = answer_late
            async with staged(database, tmp_path) as stage:
                made = await stage.channel(former.url)
                sent = [stage.happen() for _ in range(3)]
                await stage.outside.dispatcher.look()
                await stage.outside.sender.look()
                await asyncio.to_thread(former.wait_for, 1)
                await stage.edit(made, url=receiver.url)
                answering.set()
                await stage.outside.sender.settle()
                await stage.turn_until(3)
                row = stage.channel_row(made)
                assert (row["enabled"], row["disabled_reason"], row["failures"]) == (True, None, 0)
                expected = sent[1:] if late is OK else sent
                assert [one.said["data"]["seq"] for one in receiver.received] == expected

    run(steps())


def test_attempt_that_was_taken_over_is_not_marked_by_whom_it_was_taken_from(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    async def steps() -> None:
        async with staged(database, tmp_path) as stage:
            await stage.channel("https://hooks.example.test/")
            stage.happen()
            await stage.outside.dispatcher.look()
            now = stage.hand.now
            soon = now + timedelta(seconds=1)
            async with stage.outside.pool.connection() as connection:
                (channel,) = await claim(connection, now, soon, 1)
                first = await take(connection, channel, now, soon)
                second = await take(connection, channel, now, soon)
                assert first is not None
                assert second is not None
                delivered = Ended(DeliveryState.DELIVERED)
                assert not await end(connection, channel, first, delivered, Standing(), soon, now)
                assert stage.states() == ["pending"]
                assert await end(connection, channel, second, delivered, Standing(), soon, now)
                assert stage.states() == ["delivered"]

    run(steps())


def test_message_that_is_refused_stands_aside_for_the_others(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            async with staged(database, tmp_path) as stage:
                await stage.channel(receiver.url)
                poison, good = stage.happen(), stage.happen()
                receiver.answer = lambda one: status(422) if one.said["data"]["seq"] == poison else OK
                await stage.turn()
                assert stage.states() == ["pending", "delivered"]
                assert [one.said["data"]["seq"] for one in receiver.received] == [poison, good]

    run(steps())


def test_receiver_that_is_gone_is_not_asked_again(database: DatabaseAccess, tmp_path: Path) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            receiver.answer = lambda _: status(410)
            async with staged(database, tmp_path) as stage:
                made = await stage.channel(receiver.url)
                stage.happen()
                await stage.turn()
                row = stage.channel_row(made)
                assert (row["enabled"], row["disabled_reason"]) == (
                    False,
                    "the receiver answered 410: it is gone",
                )
                stage.hand.move(hours=2)
                stage.happen()
                await stage.turn()
                assert stage.states() == ["pending"]
                audit = stage.rows("SELECT * FROM audit_log WHERE resource_id = %s", str(made.id))
                assert [(one["subject"], one["action"]) for one in audit] == [
                    ("tester", "channels.created"),
                    ("engine", "channels.disabled"),
                ]
                stage.hand.move(hours=50)
                await stage.turn()
                (row,) = stage.deliveries()
                assert (row["state"], row["error"]) == ("dead", "answered 410")
        assert len(receiver.received) == 1

    run(steps())


def test_channel_that_fails_for_days_is_switched_off(database: DatabaseAccess, tmp_path: Path) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            receiver.answer = lambda _: status(503)
            async with staged(database, tmp_path, channel_failing_hours_max=5) as stage:
                made = await stage.channel(receiver.url)
                stage.happen()
                for _ in range(20):
                    await stage.turn()
                    stage.hand.move(hours=1)
                row = stage.channel_row(made)
                assert (row["enabled"], row["disabled_reason"]) == (False, "all attempts failed for 5 hours")
        assert len(receiver.received) == 6

    run(steps())


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (status(302, Location="http://127.0.0.1:1/other"), "answered 302: redirects are not followed"),
        (b"\x00\xff no HTTP at all\r\n\r\n", "the receiver didn't answer in HTTP"),
        (b"", "the receiver didn't answer in HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "the receiver didn't answer in HTTP"),
        (
            b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 300_000 + b"\r\n\r\n",
            "the receiver didn't answer in HTTP",
        ),
    ],
    ids=["redirect", "garbage", "nothing", "cut", "endless header"],
)
def test_answer_that_is_none_is_a_failure(
    database: DatabaseAccess, tmp_path: Path, answer: Any, error: str
) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            receiver.answer = lambda _: answer
            async with staged(database, tmp_path) as stage:
                await stage.channel(receiver.url)
                stage.happen()
                await stage.turn()
                (row,) = stage.deliveries()
                assert (row["state"], row["error"]) == ("pending", error)
        assert len(receiver.received) == 1

    run(steps())


def test_huge_answer_is_cut_and_kept_as_text(database: DatabaseAccess, tmp_path: Path) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            receiver.answer = lambda _: (200, {}, b"\x00\xfe" + b"x" * 20_000_000)
            async with staged(database, tmp_path, delivery_excerpt_characters_max=20) as stage:
                await stage.channel(receiver.url)
                stage.happen()
                await stage.turn()
                (row,) = stage.deliveries()
                assert (row["state"], row["answer"]) == ("delivered", "\ufffd\ufffd" + "x" * 18)

    run(steps())


def test_answer_that_drips_is_given_up_after_its_time(database: DatabaseAccess, tmp_path: Path) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            released = threading.Event()

            def drip(_: Received) -> bytes:
                # Held until the sender has hung up by its own limit.
                released.wait(5)
                return b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab"

            receiver.answer = drip
            async with staged(database, tmp_path, webhook_s_max=0.2) as stage:
                await stage.channel(receiver.url)
                stage.happen()
                await stage.turn()
                released.set()
                (row,) = stage.deliveries()
                assert (row["state"], row["error"]) == ("pending", "no whole answer within 0.2 s")

    run(steps())


def test_former_secret_signs_too_until_its_time_is_over(database: DatabaseAccess, tmp_path: Path) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            async with staged(database, tmp_path) as stage:
                made = await stage.channel(receiver.url)
                other = await stage.channel(receiver.url, events=("late",))
                # As a rotation leaves it: the secret of now, and the one before until a moment.
                sealed = stage.outside.sealer.seal(other.secret, stage.tenant, made.id)  # type: ignore[arg-type]
                stage.rows(
                    "UPDATE channels SET former_secret = secret, secret = %s, former_secret_until = %s WHERE id = %s",
                    sealed,
                    stage.hand.now + timedelta(hours=1),
                    made.id,
                )
                stage.happen()
                await stage.turn()
                stage.hand.move(hours=1)
                stage.happen()
                await stage.turn()
            first, second = receiver.received
        assert is_signed_by(made.secret, first)
        assert is_signed_by(other.secret, first)
        assert is_signed_by(other.secret, second)
        assert not is_signed_by(made.secret, second)

    run(steps())


def test_two_processes_deliver_each_event_once(database: DatabaseAccess, tmp_path: Path) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            async with (
                staged(database, tmp_path) as first,
                staged(database, tmp_path, first.hand, first.tenant) as second,
            ):
                for _ in range(4):
                    await first.channel(receiver.url)
                sent = [first.happen() for _ in range(20)]
                while first.states().count("delivered") < 80:
                    await asyncio.gather(first.turn(), second.turn())
                assert first.states() == ["delivered"] * 80
        assert len(receiver.received) == len({one.id for one in receiver.received}) == 80
        by_seq = [one.said["data"]["seq"] for one in receiver.received]
        assert {seq: by_seq.count(seq) for seq in sent} == dict.fromkeys(sent, 4)

    run(steps())


def test_process_that_ends_while_it_sends_leaves_one_delivery_that_is_sent_again(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            async with staged(database, tmp_path) as stage:
                await stage.channel(receiver.url)
                stage.happen()
                await stage.outside.dispatcher.look()

                def fall(_: object) -> None:
                    raise OSError("as if the process had ended here")

                stage.outside.sender._reached = fall
                await stage.turn()
                assert (stage.states(), len(receiver.received)) == (["pending"], 1)
                await stage.turn()
                assert len(receiver.received) == 1, "the claim holds"
                stage.outside.sender._reached = lambda _: None
                stage.hand.move(hours=1)
                await stage.turn()
                assert stage.states() == ["delivered"]
                (row,) = stage.deliveries()
                assert row["attempts"] == 2
        assert len(receiver.received) == 2
        assert len({one.id for one in receiver.received}) == 1

    run(steps())


def test_beyond_the_limit_of_what_waits_deliveries_are_dead_and_nothing_is_forgotten(
    database: DatabaseAccess, tmp_path: Path
) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            async with staged(database, tmp_path, channel_pending_max=3) as stage:
                await stage.channel(receiver.url)
                for _ in range(5):
                    stage.happen()
                await stage.outside.dispatcher.look()
                assert stage.states() == ["pending"] * 3 + ["dead"] * 2
                assert stage.deliveries()[-1]["error"] == "3 deliveries were waiting in the channel"
                await stage.turn()
                assert stage.states() == ["delivered"] * 3 + ["dead"] * 2

    run(steps())


def test_what_ended_long_ago_is_dropped(database: DatabaseAccess, tmp_path: Path) -> None:
    async def steps() -> None:
        with receiving() as receiver:
            async with staged(database, tmp_path) as stage:
                await stage.channel(receiver.url)
                stage.happen()
                await stage.turn()
                stage.hand.move(days=29)
                await stage.turn()
                assert stage.states() == ["delivered"]
                stage.hand.move(days=2)
                await stage.turn()
                assert stage.states() == []
                assert stage.rows("SELECT * FROM delivery_events") == []

    run(steps())
