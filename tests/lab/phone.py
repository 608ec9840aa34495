"""SIP phones with real audio: sipp at the endpoints `phone1` and `phone2` of the lab's Asterisk."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.lab import packages
from tests.lab.asterisk import Asterisk
from tests.lab.server import LabError, Server, free_ports, is_free

_SCENARIOS = Path(__file__).parent / "sipp"
_RTP_PORTS = 40


class _Sipp(Server):
    """A sipp that plays a scenario at the address of one of Asterisk's phones."""

    scenario: str

    def __init__(self, pbx: Asterisk, endpoint: str) -> None:
        packages.ensure(*packages.PHONE)
        super().__init__()
        self.endpoint = endpoint
        self._pbx = pbx
        self._port = pbx.phone_ports[endpoint]
        self._rtp_port = free_ports(_RTP_PORTS)

    def _prepare(self) -> None:
        """Make the tone that the phone sends: 440 Hz, in the codec of the scenario."""
        tone = ("sox", "-n", "-t", "al", "-r", "8000", "-c", "1", str(self._tone))
        subprocess.run([*tone, "synth", "10", "sine", "440", "gain", "-6"], check=True)

    @property
    def _tone(self) -> Path:
        return self.directory / "tone.alaw"

    def _command(self) -> Sequence[str]:
        scenario = _SCENARIOS / f"{self.scenario}.xml"
        return [
            *("env", f"--chdir={self.directory}", "sipp", "-sf", str(scenario), "-nostdin"),
            *("-i", "127.0.0.1", "-mi", "127.0.0.1", "-p", str(self._port)),
            *("-mp", str(self._rtp_port)),
            *self._arguments(),
            f"127.0.0.1:{self._pbx.sip_port}",
        ]

    def _arguments(self) -> Sequence[str]:
        return ()

    def _is_ready(self) -> bool:
        return not is_free(self._port)


class Phone(_Sipp):
    """A phone that answers every call to PJSIP/<endpoint> after half a second and sends a tone."""

    name = "phone"
    scenario = "answer"

    def __init__(self, pbx: Asterisk, endpoint: str = "phone1") -> None:
        super().__init__(pbx, endpoint)


class Caller(_Sipp):
    """A phone that dials `number`, sends a tone for `seconds` once answered, and hangs up."""

    name = "caller"
    scenario = "dial"

    def __init__(
        self, pbx: Asterisk, number: str, seconds: float, endpoint: str = "phone2"
    ) -> None:
        super().__init__(pbx, endpoint)
        self._number = number
        self._seconds = seconds

    def wait(self, timeout: float = 30.0) -> None:
        """Return when the call is over. Raises LabError when it failed."""
        if self._process is None:
            raise LabError("the call was not started")
        if code := self._process.wait(timeout):
            raise LabError(f"the call failed ({code})\n{self.log_tail()}")

    def _arguments(self) -> Sequence[str]:
        milliseconds = str(round(self._seconds * 1000))
        caller = ("-key", "caller", self.endpoint)
        return ["-s", self._number, "-d", milliseconds, "-m", "1", "-timeout", "60", *caller]
