"""The console in a real Chromium, beside the real services."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator

import pytest
from selenium.webdriver.support.ui import Select

from tests.integration.conftest import Pbx
from tests.integration.console_page import (
    CALLS_A_DAY,
    DAYS,
    HOSTILE,
    LOST,
    Page,
    Site,
    past_calls,
)
from tests.lab import packages
from tests.lab.browser import Browser
from tests.lab.events_service import EventsService
from tests.lab.phone import Phone
from tests.lab.server import wait_until
from tests.lab.service import PREFIX
from tests.lab.softphone import RefusingPhone, Softphone
from tests.lab.web import Nginx


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium that prefers English."""
    with Browser("en") as browser:
        yield browser


@pytest.fixture(scope="module")
def site(pbx: Pbx) -> Iterator[Site]:
    """The services as a browser reaches them."""
    packages.ensure(*packages.WEB)
    with (
        EventsService(pbx.service) as events,
        Nginx(pbx.service, pbx.asterisk.monitor, events) as nginx,
    ):
        site = Site(pbx, events, f"http://127.0.0.1:{nginx.port}{PREFIX}")
        site.wait_live()
        yield site


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """The console; the test fails when the page has logged an error that it has not looked at."""
    page = Page(browser, site)
    browser.open(page.plain)
    browser.forget()
    browser.resize(1280, 800)
    browser.prefer("light")
    yield page
    assert browser.errors() == []


@pytest.fixture(scope="module")
def history(pbx: Pbx) -> Iterator[None]:
    """Calls of long ago: each rings at two telephones, so that it has two rows."""
    rows = past_calls()
    marks = ", ".join(["%s"] * len(rows[0]))
    values = ", ".join([f"({marks})"] * len(rows))
    sql = f"INSERT INTO cdr ({', '.join(rows[0])}) VALUES {values}"
    pbx.database.execute(sql, [value for row in rows for value in row.values()])
    yield
    pbx.database.execute("DELETE FROM cdr WHERE accountcode = 'console'")


def today() -> str:
    return time.strftime("%Y-%m-%d")


@pytest.mark.parametrize("end", ["/console", "/console/"])
def test_logging_in_shows_the_views_and_keeps_the_key_out_of_the_address(
    page: Page, end: str
) -> None:
    browser = page.browser
    browser.open(page.site.url + end)
    browser.type("input[name=key]", page.pbx.keys["all"])
    browser.click("button[type=submit]")
    browser.wait("h1", "Now")
    assert [tab.text for tab in browser.all("nav a")] == ["Now", "Log", "Figures"]
    browser.click("nav a", "Log")
    browser.wait("h1", "Log")
    key = page.pbx.keys["all"]
    assert key not in browser.driver.current_url
    requested = browser.run("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert requested
    assert all(key not in url and url.startswith(page.site.url) for url in requested)
    assert browser.run("return localStorage.length") == 0


@pytest.mark.parametrize(
    ("key", "message"),
    [("0" * 36, "No API user has this key."), ("disabled", "This API user is disabled.")],
)
def test_a_key_that_is_refused_says_why(page: Page, key: str, message: str) -> None:
    browser = page.browser
    browser.open(page.url)
    browser.type("input[name=key]", page.pbx.keys.get(key, key))
    browser.click("button[type=submit]")
    browser.wait("[role=alert]", message)
    assert browser.run("return sessionStorage.length") == 0
    assert all("status of 40" in error for error in browser.errors())


def test_a_key_without_rights_is_shown_no_view(page: Page) -> None:
    browser = page.open(key="nobody")
    browser.wait(".notice h2", "This key opens none of the views")
    assert browser.all("nav a") == []


def test_a_call_appears_is_answered_held_and_ends_without_a_reload(page: Page) -> None:
    browser, asterisk = page.open("now"), page.pbx.asterisk
    browser.wait(".notice h2", "No calls at the moment")
    browser.wait(".connection[data-state=live]")
    browser.run("window.loadedOnce = true")
    with Softphone(asterisk, "1001") as desk, Softphone(asterisk, "trunk1") as trunk:
        trunk.dial("1001", caller="79161112233")
        ringing = browser.wait("li[data-state=ringing]", "rings: 1001")
        assert "79161112233" in ringing.text
        assert "Incoming" in browser.run("return arguments[0].textContent", ringing)
        assert browser.wait("[data-count=ringing] dd").text == "1"
        browser.wait_for(
            lambda: (
                "Incoming call: 79161112233"
                in browser.run("return document.querySelector('.now > [aria-live]').textContent")
            ),
            "the announcement",
        )
        desk.wait_call("ringing").answer()
        browser.wait("li[data-state=answered]", "talks with 1001")
        desk.wait_call().hold()
        browser.wait("li[data-state=held]", "On hold")
        desk.wait_call().resume()
        browser.wait("li[data-state=answered]")
        desk.wait_call().hang_up()
        browser.wait(".notice h2", "No calls at the moment")
    assert browser.run("return window.loadedOnce")


def test_a_name_from_outside_stays_text(page: Page) -> None:
    browser = page.open("now")
    browser.wait(".connection[data-state=live]")
    page.pbx.originate("all", callerid=f'"{HOSTILE}" <79160000001>', exten="310")
    browser.wait("li[data-linkedid]")
    assert browser.count("#app img[src=x]") == 0


def test_the_events_service_may_go_and_come_back(page: Page) -> None:
    browser = page.open("now")
    browser.wait(".connection[data-state=live]")
    page.site.events.stop()
    browser.wait(".banner", "Live calls are not available")
    browser.wait(".connection", "Reconnecting")
    page.site.events.start()
    page.site.wait_live()
    browser.wait(".connection[data-state=live]", timeout=40)
    browser.wait_gone(".banner")
    assert all("status of 502" in error or "ERR_" in error for error in browser.errors())


def test_a_pbx_that_is_gone_is_said_so(page: Page) -> None:
    service, events = page.pbx.service, page.site.events
    events.stop()
    service.write_config({"ami": {"port": "1"}})
    events.start()
    try:
        browser = page.open("now")
        browser.wait(".banner", "The PBX cannot be reached")
        assert not browser.all(".notice")  # no call is known, which is not the same as no call
    finally:
        events.stop()
        service.write_config()
        events.start()
    page.site.wait_live()
    browser.wait(".notice h2", "No calls at the moment", timeout=40)
    assert all("status of 50" in error for error in browser.errors())


def test_a_key_that_is_withdrawn_ends_the_session(page: Page) -> None:
    pbx = page.pbx
    pbx.keys["brief"] = pbx.service.add_user("brief", pbx.groups["all"])
    browser = page.open("now", "brief")
    browser.wait(".connection[data-state=live]")
    pbx.service.add_user("brief", pbx.groups["all"])  # with another key
    browser.wait("[role=alert]", "The key no longer works.", timeout=30)
    assert browser.run("return sessionStorage.length") == 0
    assert all("status of 401" in error for error in browser.errors())


def test_a_call_of_the_log_is_one_row_with_its_legs_folded(page: Page) -> None:
    pbx = page.pbx
    uniqueid = pbx.originate("all", exten="5551000", callerid=f'"{HOSTILE}" <79160000001>')
    pbx.wait_recorded(uniqueid)
    pbx.asterisk.hang_up_all()
    pbx.wait_rows(uniqueid, 3)
    browser = page.open("log", **{"from": today(), "to": today()})
    row = f"tr.call[data-id='{uniqueid}']"
    browser.wait(row)
    assert len(browser.all(row)) == 1
    browser.click(f"{row} .fold")
    browser.wait("tr.legs table")
    assert len(browser.all("tr.legs tbody tr")) >= 3
    assert f"call={uniqueid}" in page.fragment()
    assert browser.run("return document.querySelectorAll('#app img[src=x]').length") == 0


def grown(browser: Browser, shown: int) -> Callable[[], bool]:
    """Whether the log has more calls than `shown`, or has ended."""
    return lambda: browser.count("tr.call") > shown or browser.count(".all-shown") > 0


def test_the_log_pages_as_one_scrolls_newest_first(page: Page, history: None) -> None:
    browser = page.open("log", **{"from": DAYS[0], "to": DAYS[2]})
    browser.wait("tr.call")
    shown = browser.count("tr.call")
    assert shown < len(DAYS) * CALLS_A_DAY
    while not browser.count(".all-shown"):
        browser.run("scrollTo(0, document.body.scrollHeight)")
        browser.wait_for(grown(browser, shown), "a further page")
        shown = browser.count("tr.call")
    ids = browser.run("return [...document.querySelectorAll('tr.call')].map((r) => r.dataset.id)")
    assert len(ids) == len(set(ids)) == len(DAYS) * CALLS_A_DAY
    assert [row.text for row in browser.all("tr.day")] == ["Wed 6 Mar", "Tue 5 Mar", "Mon 4 Mar"]
    assert browser.all("tr.call")[0].text.startswith("15:45:00")


def test_filters_stand_in_the_address_and_work_from_it(page: Page, history: None) -> None:
    browser = page.open("log", **{"from": DAYS[0], "to": DAYS[2]})
    browser.wait("tr.call")
    browser.type("input[name=number]", LOST)
    browser.wait_count("tr.call", 1)
    assert browser.wait("tr.call").text.count("Missed") == 1
    assert f"number={LOST}" in page.fragment()
    colleague = page.open("log", **{"from": DAYS[0], "to": DAYS[2], "number": LOST})
    colleague.wait_count("tr.call", 1)
    for name, value, count in (("direction", "out", 0), ("direction", "in", 1)):
        browser.run(
            "const s = document.querySelector(`[name=${arguments[0]}]`); s.value = arguments[1];"
            "s.dispatchEvent(new Event('change'))",
            name,
            value,
        )
        browser.wait_count("tr.call", count)
        browser.wait(".all-shown, .foot .notice")
        assert f"{name}={value}" in page.fragment()
    browser.driver.back()
    browser.wait(".notice h2", "No calls in this period")


def test_the_filtered_calls_are_downloaded_as_csv(page: Page, history: None) -> None:
    values = {"from": DAYS[0], "to": DAYS[2], "disposition": "ANSWERED", "direction": "in"}
    browser = page.open("log", **values)
    browser.wait("tr.call")
    browser.click("button", "Download CSV")
    path = browser.downloads / f"calls-{DAYS[0]}-{DAYS[2]}.csv"
    wait_until(path.exists, 15, "the download")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(DAYS) * CALLS_A_DAY * 3 // 4
    assert {row["disposition"] for row in rows} == {"ANSWERED"}
    assert rows[0]["start"].startswith(DAYS[2])
    assert HOSTILE in rows[0]["clid"]


def test_the_player_plays_seeks_and_offers_the_file(page: Page) -> None:
    uniqueid = page.pbx.recorded_call()
    browser = page.open("log", **{"from": today(), "to": today()})
    browser.click(f"tr.call[data-id='{uniqueid}'] [aria-label^=Listen]")
    browser.wait(".player-time", "/ 0:0")
    playing = (
        "const a = document.querySelector('audio'); return [a.currentTime, a.duration, a.paused]"
    )
    browser.wait_for(lambda: browser.run(playing)[0] > 0, "sound")
    duration = browser.run(playing)[1]
    assert duration > 1
    browser.wait("[aria-label=Pause]").click()
    browser.wait("[aria-label=Play]")
    browser.run(
        "const s = document.querySelector('input[type=range]'); s.value = arguments[0];"
        "s.dispatchEvent(new Event('input', {bubbles: true}))",
        duration / 2,
    )
    browser.wait_for(lambda: abs(browser.run(playing)[0] - duration / 2) < 0.2, "the position")
    Select(browser.wait("select[name=speed]")).select_by_value("1.5")
    assert browser.run("return document.querySelector('audio').playbackRate") == 1.5
    link = browser.run("return document.querySelector('.player a').href")
    assert page.pbx.keys["all"] not in link
    browser.click(".player a", "MP3")
    wait_until((browser.downloads / f"{uniqueid}.mp3").exists, 15, "the download")


def test_a_call_without_a_recording_is_no_riddle(page: Page, history: None) -> None:
    browser = page.open("log", **{"from": DAYS[0], "to": DAYS[0]})
    browser.click("tr.call [aria-label^=Listen]")
    browser.wait(".player-message", "This call has no recording.")
    assert all("status of 404" in error for error in browser.errors())


def test_click_to_call_rings_the_own_telephone(page: Page) -> None:
    pbx = page.pbx
    with Phone(pbx.asterisk, "phone1"):
        browser = page.open("now")
        browser.type(".dial input", "+7 (495) 555-10-00")
        browser.click(".dial button[type=submit]")
        browser.type("dialog [name=line]", "phone1")
        browser.type("dialog [name=context]", "outgoing")
        browser.click("dialog button[type=submit]")
        browser.wait(".dial-status", "+74955551000")
        wait_until(lambda: "PJSIP/phone1" in pbx.asterisk.cli("core show channels"), 15, "rings")
        browser.wait(".dial-status", "Connected")
    pbx.asterisk.hang_up_all()
    assert "phone1" in browser.wait(".dial button.quiet").text
    with RefusingPhone(pbx.asterisk, 486):
        browser.type(".dial input", "120")
        browser.click(".dial button[type=submit]")
        browser.wait(".dial-status", "Not connected")


def test_figures_are_those_of_the_period(page: Page, history: None) -> None:
    browser = page.open("figures", **{"from": DAYS[0], "to": DAYS[2]})
    browser.wait("figure svg")
    total = len(DAYS) * CALLS_A_DAY
    shown = {
        tile.get_attribute("data-figure"): tile.text.splitlines()[-1]
        for tile in browser.all(".tiles > div")
    }
    assert shown["total"] == str(total)
    assert shown["missed"] == str(total // 4)
    assert shown["answeredCalls"] == str(total - total // 4)
    assert browser.count("figure") == 2
    browser.click("summary", "As a table")
    assert browser.wait("details tbody tr").text == "08:00 21 9"
    browser.wait("table.agent tbody tr", "102")
    people = browser.wait(".people")
    assert LOST in people.text
    browser.click("nav a", "Log")
    browser.driver.back()
    browser.wait("figure svg")
    assert f"from={DAYS[0]}" in page.fragment()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_view_is_accessible_and_fits_the_screen(
    page: Page, history: None, width: int, scheme: str
) -> None:
    browser = page.browser
    browser.prefer(scheme)
    browser.resize(width, 800)
    for view, sign in (("now", ".tiles"), ("log", "tr.call"), ("figures", "figure svg")):
        page.open(view, **{"from": DAYS[0], "to": DAYS[2], "number": LOST})
        browser.wait(sign)
        if view == "log":
            browser.click("tr.call .fold")
            browser.wait("tr.legs tbody td")
        if view == "now":
            browser.click(".dial button.quiet")
            browser.wait("dialog h2", "My telephone")
            assert browser.accessibility_faults() == []
            browser.click("dialog button", "Cancel")
        assert browser.accessibility_faults() == []
        assert browser.run("return document.documentElement.scrollWidth - innerWidth") <= 0


def test_the_language_is_the_browsers(site: Site) -> None:
    with Browser("ru") as browser:
        page = Page(browser, site)
        page.open("log")
        browser.wait("h1", "Журнал")
        assert browser.run("return document.documentElement.lang") == "ru"
        assert [tab.text for tab in browser.all("nav a")] == ["Сейчас", "Журнал", "Итоги"]
