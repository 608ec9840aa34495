"""What the tests of the console share: its page in a browser, and calls of long ago."""

from __future__ import annotations

import time
from dataclasses import dataclass
from urllib.parse import urlencode

from tests.integration.conftest import Pbx
from tests.lab.browser import Browser
from tests.lab.events_service import EventsService
from tests.lab.server import wait_until

HOSTILE = "<img src=x onerror=alert(1)>"
# So many incoming calls lie in the log on each of these days, every fourth one missed.
DAYS = ("2019-03-04", "2019-03-05", "2019-03-06")
CALLS_A_DAY = 80
LOST = "79160009999"  # called once, was missed, and nobody has called back


@dataclass(frozen=True)
class Site:
    """Both services behind one web server."""

    pbx: Pbx
    events: EventsService
    url: str

    def wait_live(self) -> None:
        """Wait until the live calls are known."""
        key = self.pbx.keys["all"]
        wait_until(lambda: self.events.get("calls", key).status == 200, 20, "live calls")


class Page:
    """The console of one PBX in a browser."""

    def __init__(self, browser: Browser, site: Site) -> None:
        self.browser = browser
        self.site = site
        self.pbx = site.pbx
        self.url = f"{site.url}/console/"
        self.plain = f"{self.url}csv.js"  # of the same origin, and runs nothing

    def open(self, fragment: str = "", key: str = "all", **values: str) -> Browser:
        """Show a view to somebody who is logged in with the key of that name."""
        self.browser.open(self.plain)
        self.browser.run("sessionStorage.setItem('evolvex.key', arguments[0])", self.pbx.keys[key])
        self.browser.open(f"{self.url}#{fragment}{'?' if values else ''}{urlencode(values)}")
        return self.browser

    def fragment(self) -> str:
        """What stands behind the # of the address."""
        return str(self.browser.run("return location.hash.slice(1)"))


def past_calls() -> list[dict[str, object]]:
    """The rows of calls of long ago: each rings at two telephones, so that it has two rows."""
    return [
        row
        for day in DAYS
        for number in range(CALLS_A_DAY)
        for row in _past_call(f"{day} {8 + number // 10:02}:{number % 10 * 5:02}:00", number)
    ]


def _past_call(start: str, number: int) -> list[dict[str, object]]:
    """The rows of one call: 101 does not answer, then 102 does, unless it was missed."""
    missed = number % 4 == 0
    first = start == f"{DAYS[1]} 08:00:00"
    linkedid = f"{time.mktime(time.strptime(start, '%Y-%m-%d %H:%M:%S')):.0f}.{number}"
    shared = {
        "accountcode": "console",
        "src": LOST if first else f"7916000{number:04}",
        "dst": "74951234567",
        "clid": f'"{HOSTILE}" <7916000{number:04}>',
        "dcontext": "incoming",
        "channel": "PJSIP/trunk-00000001",
        "start": start,
        "linkedid": linkedid,
        "direction": "incoming",
        "duration": 30,
    }
    unanswered = {"billsec": 0, "disposition": "NO ANSWER"}
    answered = {"billsec": 20, "disposition": "ANSWERED"}
    return [
        {**shared, "uniqueid": linkedid, "sequence": 1, "dstchannel": "PJSIP/101-00000002"}
        | unanswered,
        {**shared, "uniqueid": linkedid, "sequence": 2, "dstchannel": "PJSIP/102-00000003"}
        | (unanswered if missed else answered),
    ]
