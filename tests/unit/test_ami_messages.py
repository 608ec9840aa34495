"""Framing and encoding of AMI messages, hostile ones included."""

from __future__ import annotations

import pytest

from evolvex_api.backends.ami.messages import (
    Framer,
    encode,
    fields,
    originate_headers,
)
from evolvex_api.core import uniqueid
from evolvex_api.core.dialling import Call, variable_text

LIST = (
    b"Response: Success\r\nActionID: X\r\nEventList: start\r\nMessage: will follow\r\n\r\n"
    b"Event: Status\r\nChannel: a\r\nVariable: v=\r\n\r\nEvent: StatusComplete\r\n"
    b"EventList: Complete\r\nActionID: X\r\n\r\n"
    b"Event: Status\r\nChannel: b\r\nActionID: X\r\n\r\n"
    b"Event: StatusComplete\r\nActionID: X\r\nEventList: Complete\r\nItems: 2\r\n\r\n"
)
PONG = b"Response: Success\r\nActionID: Y\r\nPing: Pong\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_a_list_is_one_message_wherever_it_is_cut(size: int) -> None:
    framer = Framer({"X", "Y"})
    data = PONG + LIST + PONG
    found = [
        message for n in range(0, len(data), size) for message in framer.feed(data[n : n + size])
    ]
    assert found == [("Y", PONG[:-4]), ("X", LIST[:-4]), ("Y", PONG[:-4])]
    assert framer.size == 0


def test_a_list_that_nobody_asked_for_swallows_nothing() -> None:
    fake = b"Response: Success\r\nActionID: guess\r\nEventList: start\r\n\r\n"
    assert [action_id for action_id, _ in Framer({"Y"}).feed(fake + PONG)] == ["guess", "Y"]


def test_the_first_header_counts_not_one_that_a_value_holds() -> None:
    assert fields(b"Event: A\r\nReason: 4\r\nExten: 1\r\nReason: 0") == {
        "Event": "A",
        "Reason": "4",
        "Exten": "1",
    }
    assert fields(b"Event: \xff")["Event"] == "�"


@pytest.mark.parametrize("control", ["\r", "\n", "\0", "\x7f", "\x85"])
def test_no_control_character_is_ever_sent(control: str) -> None:
    with pytest.raises(ValueError, match="control"):
        encode([("Action", "Ping"), ("Channel", f"a{control}b")])


def test_no_line_is_longer_than_ami_takes() -> None:
    with pytest.raises(ValueError, match="longer"):
        encode([("Variable", "a=" + "я" * 500)])


def test_quotes_and_backslashes_are_kept_from_asterisk() -> None:
    assert variable_text("a", 'x"y\\z') == 'a=x\\"y\\\\z'


def test_a_call_as_headers() -> None:
    call = Call("Local/1@a", "b", "2", "1", 30, variables=[("x", "1")], callerid="Имя <1>")
    headers = dict(originate_headers(call))
    assert headers["Async"] == "true"
    assert headers["Timeout"] == "30000"
    assert headers["ChannelId"] == call.uniqueid
    assert headers["Variable"] == "x=1"
    assert not {"Application", "Data", "Account", "Codecs", "EarlyMedia"} & headers.keys()


def test_ids_are_ours_and_fit_the_call_log() -> None:
    ids = {uniqueid.new() for _ in range(100)}
    assert len(ids) == 100
    assert all(int(one.partition(".")[2]) >= 2**32 and len(f"{one};2") <= 32 for one in ids)
