"""`make demo`: a PBX with both services behind nginx, a recorded call, and curl lines to paste."""

import signal
import sys
import time
from types import FrameType

from tests.lab import packages
from tests.lab.asterisk import Asterisk
from tests.lab.events_service import EventsService
from tests.lab.mariadb import MariaDB
from tests.lab.packages import PackagesMissing
from tests.lab.server import LabError, is_free, wait_until
from tests.lab.service import PREFIX, Service
from tests.lab.web import Nginx, SocketService

_PORT = 8088
_TEXT = """
The PBX answers after {seconds:.1f} s: Asterisk 22, MariaDB, and both services of the Evolvex API
behind nginx with the shipped configuration.
Paste into another terminal:

BASE={url}
KEY={key}
ID={id}

curl "$BASE/check?api_key=$KEY&context=outgoing&uniqueid=$ID"
curl "$BASE/originate?api_key=$KEY&channel=Local/110@answer&context=outgoing&exten=120&priority=1"
curl "$BASE/status?api_key=$KEY"
curl -o call.mp3 "$BASE/get_file_mp3?api_key=$KEY&uniqueid=$ID"
curl -o call.wav "$BASE/get_file_wav?api_key=$KEY&uniqueid=$ID"
curl -F file=@call.wav "$BASE/uploads?api_key=$KEY"
curl -d "api_key=$KEY" "$BASE/get_log_cdr"
curl "$BASE/link?api_key=$KEY&uniqueid=$ID"
curl "$BASE/calls?api_key=$KEY&uniqueid=$ID"
curl -N "$BASE/events?api_key=$KEY"     # and originate again, from another terminal

README.md says more of each. Journals:
{log}
Ctrl-C ends it; nothing stays running or mounted.
"""


def main() -> None:
    """Run the demonstration until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        packages.ensure(*packages.PBX, *packages.AUDIO, *packages.WEB)
        _run()
    except (PackagesMissing, LabError) as error:
        sys.exit(f"make demo: {error}")
    except KeyboardInterrupt:
        print("\nEnded.", flush=True)


def _run() -> None:
    started = time.monotonic()
    with MariaDB() as database, Asterisk(22, database) as asterisk:
        service = SocketService(asterisk, database)
        key = service.add_user("demo", service.add_group("everything", ["*"]))
        events = EventsService(service)
        nginx = Nginx(service, asterisk.monitor, events)
        nginx.port = _PORT if is_free(_PORT) else nginx.port
        service.port = nginx.port
        with service, events, nginx:
            uniqueid = _call(service, asterisk, key)
            seconds = time.monotonic() - started
            values = {"url": f"http://127.0.0.1:{nginx.port}{PREFIX}", "key": key, "id": uniqueid}
            logs = f"{service.log_file}\n{events.log_file}"
            print(_TEXT.format(seconds=seconds, log=logs, **values), flush=True)
            signal.pause()


def _call(service: Service, asterisk: Asterisk, key: str) -> str:
    """Make a recorded call by the service and wait for its end; returns its Uniqueid."""
    call = {"channel": "Local/110@answer", "context": "outgoing", "exten": "5551000"}
    uniqueid: str = service.get("originate", key, priority=1, **call).data["Uniqueid"]
    recording = asterisk.monitor / f"{uniqueid}.wav"
    wait_until(lambda: asterisk.channels() == 0 and recording.exists(), 30, "a recorded call")
    return uniqueid


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
