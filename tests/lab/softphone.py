"""SIP phones that a test plays by hand: they ring, answer, refuse, dial, hold and transfer.

They run in threads of the test itself, so dozens cost little. While they talk they send silence,
without which Asterisk doesn't join the two sides of a Local channel; `phone.py` has phones that
send a tone.

    with Softphone(asterisk, "1001") as desk, Softphone(asterisk, "1002", answer=0.2):
        call = desk.dial("1002").wait("answered")
        call.hold()
        call.hang_up()
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Literal, Self
from urllib.parse import quote

from tests.lab import sip
from tests.lab.asterisk import Asterisk
from tests.lab.server import LabError, wait_until

State = Literal["new", "ringing", "answered", "ended"]


class SipCall:
    """A call of a softphone: one SIP dialog (RFC 3261, 12)."""

    def __init__(self, phone: Softphone, call_id: str, local: str, remote: str, to: str) -> None:
        """Given the values of From and To as this side writes them, and where requests go."""
        self.call_id, self.local, self.remote, self.target = call_id, local, remote, to
        self.state: State = "new"
        self.code = 0
        self.invite: sip.Message | None = None
        self.is_incoming = False
        self.transfer_done = False
        self._phone = phone
        self._confirmed = 0  # INVITEs of this side that have a final answer
        self._sequence = itertools.count(1)

    def wait(self, *states: State, timeout: float = 15.0) -> Self:
        """Return when the call is in one of `states`. Raises LabError when it isn't in time."""
        wait_until(lambda: self.state in (*states, "ended"), timeout, f"{states}: {self.local}")
        if self.state not in states:
            raise LabError(f"the call of {self.local} ended with {self.code}")
        return self

    def answer(self) -> None:
        """Pick up."""
        assert self.invite and self.is_incoming
        self._phone.respond(self.invite, "200 OK", body=sip.session(self._phone.rtp_port))
        self.state = "answered"
        self._phone.send_audio(self, self.invite.body)

    def refuse(self, status: str) -> None:
        """Answer the INVITE with a failure, such as "486 Busy Here"."""
        assert self.invite and self.is_incoming
        self._phone.respond(self.invite, status)
        self.state = "ended"

    def hang_up(self) -> None:
        """BYE, or CANCEL before the answer."""
        if self.state == "answered":
            self.request("BYE")
        elif self.state != "ended" and self.invite and not self.is_incoming:
            number = self.invite["CSeq"].split()[0]
            headers = [(n, v) for n, v in self.invite.headers if n in ("Via", "From", "To")]
            headers += [("Call-ID", self.call_id), ("CSeq", f"{number} CANCEL")]
            self._phone.send(sip.Message(f"CANCEL {self.target} SIP/2.0", headers))
        self.state = "ended"

    def hold(self) -> None:
        """Put the other side on hold (re-INVITE with `sendonly`)."""
        self._invite_again("sendonly")

    def resume(self) -> None:
        """Take the other side back."""
        self._invite_again("sendrecv")

    def transfer(self, number: str) -> None:
        """Blind transfer (RFC 3515): REFER the other side to `number`."""
        self.request("REFER", [("Refer-To", f"<{self._phone.address(number)}>")])

    def transfer_to(self, consultation: SipCall) -> None:
        """Attended transfer (RFC 3891): join the other sides of this call and `consultation`."""
        tags = f"to-tag={sip.tag(consultation.remote)};from-tag={sip.tag(consultation.local)}"
        replaces = quote(f"{consultation.call_id};{tags}", safe="")
        self.request("REFER", [("Refer-To", f"<{consultation.target}?Replaces={replaces}>")])

    def request(self, method: str, extra: Sequence[sip.Header] = (), body: str = "") -> sip.Message:
        """Send a request within the dialog, or the INVITE that begins it; returns it."""
        headers = [
            ("Via", f"SIP/2.0/UDP 127.0.0.1:{self._phone.port};branch=z9hG4bK{uuid.uuid4().hex}"),
            ("From", self.local),
            ("To", self.remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{next(self._sequence)} {method}"),
            ("Contact", self._phone.contact),
            ("Max-Forwards", "70"),
            *extra,
        ]
        message = sip.Message(f"{method} {self.target} SIP/2.0", headers, body)
        self._phone.send(message)
        return message

    def take_response(self, response: sip.Message) -> None:
        """Act on a response to a request of this side."""
        if response.method != "INVITE" or response.status < 180:
            return
        self.remote = response["To"]  # with its tag, by which a transfer names this dialog
        if response.status >= 200:
            self._acknowledge(response)
            self._confirmed += 1
        if self.state in ("answered", "ended"):
            return
        self.code = response.status
        self.state = "ringing" if self.code < 200 else "answered" if self.code < 300 else "ended"
        if self.state == "answered":
            self._phone.send_audio(self, response.body)

    def _acknowledge(self, response: sip.Message) -> None:
        via = [("Via", response["Via"].partition(";received")[0])]
        if response.status < 300:
            self.target = sip.uri(response["Contact"])
            via = [("Via", f"{via[0][1].partition(';')[0]};branch=z9hG4bK{uuid.uuid4().hex}")]
        headers = [*via, ("From", self.local), ("To", self.remote), ("Call-ID", self.call_id)]
        headers += [("CSeq", response["CSeq"].replace("INVITE", "ACK")), ("Max-Forwards", "70")]
        self._phone.send(sip.Message(f"ACK {self.target} SIP/2.0", headers))

    def _invite_again(self, direction: str) -> None:
        before = self._confirmed
        self.request("INVITE", body=sip.session(self._phone.rtp_port, direction))
        wait_until(lambda: self._confirmed > before, 10, f"a re-INVITE of {self.local} answered")


class Softphone:
    """A phone at an endpoint of the lab's Asterisk.

    `answer` is after how many seconds it picks up a call; None: it rings until told otherwise.
    `refuse` is the failure that it answers with instead.
    """

    def __init__(
        self,
        pbx: Asterisk,
        endpoint: str,
        *,
        answer: float | None = None,
        refuse: str = "",
    ) -> None:
        self.endpoint = endpoint
        self.port = pbx.phone_ports[endpoint]
        self.rtp_port = self.port + 1
        self.contact = f"<sip:{endpoint}@127.0.0.1:{self.port}>"
        self.calls: list[SipCall] = []
        self.on_ring: Callable[[SipCall], None] | None = None
        self._answer, self._refuse = answer, refuse
        self._pbx_port = pbx.sip_port
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", self.port))
        threading.Thread(target=self._listen, name=f"phone-{endpoint}", daemon=True).start()

    def dial(self, number: str, caller: str = "") -> SipCall:
        """Call `number`, as a trunk would with `caller` as the caller's number."""
        local = f"<sip:{self.endpoint}@127.0.0.1:{self.port}>;tag={uuid.uuid4().hex[:12]}"
        target = self.address(number)
        call = SipCall(self, uuid.uuid4().hex, local, f"<{target}>", target)
        self.calls.append(call)
        identity = f"<sip:{caller}@127.0.0.1>"
        extra = [("P-Asserted-Identity", identity)] if caller else []
        call.invite = call.request("INVITE", extra, sip.session(self.rtp_port))
        return call

    def wait_call(self, *states: State, number: int = 0, timeout: float = 15.0) -> SipCall:
        """Return the incoming or outgoing call `number` (from 0) when it is in one of `states`."""
        wait_until(lambda: len(self.calls) > number, timeout, f"a call at {self.endpoint}")
        return self.calls[number].wait(*states, timeout=timeout) if states else self.calls[number]

    def address(self, number: str) -> str:
        """Return the SIP address of `number` at the PBX."""
        return f"sip:{number}@127.0.0.1:{self._pbx_port}"

    def respond(self, request: sip.Message, status: str, body: str = "") -> None:
        """Answer a request."""
        extra = [("Contact", self.contact)]
        if status.startswith("302"):
            extra = [("Contact", f"<{self.address(status.rpartition(' ')[2])}>")]
        self.send(request.reply(status, f"tag{self.port}", extra, body))

    def send(self, message: sip.Message) -> None:
        """Send to Asterisk."""
        with contextlib.suppress(OSError):  # closed by the test's end
            self._socket.sendto(message.encode(), ("127.0.0.1", self._pbx_port))

    def close(self) -> None:
        """Leave the network without a word."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send_audio(self, call: SipCall, description: str) -> None:
        """Send silence (RFC 3550, A-law) to where an SDP wants it, until the call ends."""
        port = int(description.partition("m=audio ")[2].split(" ", 1)[0])
        threading.Thread(target=_send_silence, args=(call, port), daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                datagram = self._socket.recv(65535)
            except OSError:
                return
            if not datagram:
                return
            with contextlib.suppress(ValueError):
                self._take(sip.Message.parse(datagram))

    def _take(self, message: sip.Message) -> None:
        call = next((one for one in self.calls if one.call_id == message["Call-ID"]), None)
        if message.status:
            if call:
                call.take_response(message)
        elif message.method == "INVITE" and call is None:
            self._ring(message)
        elif message.method == "INVITE" and call and call.state != "answered":
            return  # sent again by Asterisk, which has not had the answer yet
        elif message.method == "ACK":
            return
        else:
            body = sip.session(self.rtp_port) if message.method == "INVITE" else ""
            self.respond(message, "200 OK", body)
            if call:
                self._ended_or_told(call, message)

    def _ended_or_told(self, call: SipCall, message: sip.Message) -> None:
        if message.method == "CANCEL" and call.invite and call.state != "answered":
            self.respond(call.invite, "487 Request Terminated")
        if message.method in ("BYE", "CANCEL"):
            call.state = "ended"
        if message.method == "NOTIFY" and "SIP/2.0 200" in message.body:
            call.transfer_done = True

    def _ring(self, invite: sip.Message) -> None:
        local = f"{invite['To']};tag=tag{self.port}"
        call = SipCall(self, invite["Call-ID"], local, invite["From"], sip.uri(invite["Contact"]))
        call.invite, call.is_incoming = invite, True
        self.calls.append(call)
        if self._refuse:
            call.refuse(self._refuse)
            return
        call.state = "ringing"
        self.respond(invite, "180 Ringing")
        if self.on_ring:
            self.on_ring(call)
        if self._answer is not None:
            timer = threading.Timer(self._answer, lambda: _answer_if_ringing(call))
            timer.daemon = True
            timer.start()


class RefusingPhone(Softphone):
    """A phone that answers every INVITE with the failure `code`, without ringing first."""

    def __init__(self, pbx: Asterisk, code: int, endpoint: str = "phone1") -> None:
        super().__init__(pbx, endpoint, refuse=f"{code} Refused by the test")


def _answer_if_ringing(call: SipCall) -> None:
    if call.state == "ringing":
        call.answer()


def _send_silence(call: SipCall, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in itertools.count():
            if call.state != "answered":
                return
            head = struct.pack("!BBHII", 0x80, 8, number & 0xFFFF, 160 * number & 0xFFFFFFFF, port)
            sender.sendto(head + b"\xd5" * 160, ("127.0.0.1", port))
            time.sleep(0.02)  # a packet's length
