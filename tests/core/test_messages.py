import pytest

from queues.core.messages import (
    Hold,
    Message,
    delivery_of,
    headers_size,
    utf8_size,
)
from queues.core.sessions import Session, Subscription


@pytest.mark.parametrize(("text", "size"), [("", 0), ("abc", 3), ("\0", 1), ("é", 2), ("😀", 4)])
def test_sizes_are_in_utf8(text: str, size: int) -> None:
    assert utf8_size(text) == size


def test_headers_count_names_and_values() -> None:
    assert headers_size({"ab": "é", "c": ""}) == 5
    assert headers_size({}) == 0
    assert headers_size(None) == 0


def test_a_delivery_is_the_message_as_its_receiver_sees_it() -> None:
    holder = Session(1, "secret", "server", 30.0, 0.0, 0.0, 30.0)
    message = Message(
        id=1,
        queue="q",
        payload="x",
        correlation_id="c",
        reply_to="r",
        headers=None,
        key="k",
        error=None,
        sender="client",
        sent_at=5.0,
        expires_at=9.0,
        size=4,
        delivery_count=2,
        hold=Hold(holder, Subscription(1), 7, 6.0),
    )
    delivery = delivery_of(message)
    assert (delivery.id, delivery.delivery, delivery.delivery_count) == (1, 7, 2)
    assert (delivery.queue, delivery.payload, delivery.headers) == ("q", "x", {})
    assert (delivery.correlation_id, delivery.reply_to, delivery.key) == ("c", "r", "k")
    assert (delivery.sender, delivery.sent_at, delivery.expires_at) == ("client", 5.0, 9.0)
    assert "secret" not in repr(delivery)
