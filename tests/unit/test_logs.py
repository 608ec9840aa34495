"""Lines to standard error, written by a thread of their own."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from evolvex_api import logs


class Written(io.StringIO):
    """A stream that keeps its writes apart, and holds them back while it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []
        self.open = threading.Event()
        self.open.set()

    def write(self, text: str, /) -> int:
        assert self.open.wait(30)
        self.writes.append(text)
        return len(text)


def until(done: Callable[[], bool]) -> None:
    """Return when it is done; fails after ten seconds."""
    deadline = time.monotonic() + 10
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def stream() -> Written:
    return Written()


@pytest.fixture
def log(stream: Written) -> logging.Logger:
    """A logger that writes to the stream, by its handler."""
    made = logging.Logger("test")
    made.addHandler(logs.LineHandler(stream))
    return made


def test_a_line_is_written_without_another_one(stream: Written, log: logging.Logger) -> None:
    log.info("алло")
    until(lambda: stream.writes == ["алло\n"])


def test_lines_that_come_at_once_are_written_together_whole_and_in_order(
    stream: Written, log: logging.Logger
) -> None:
    stream.open.clear()
    lines = [f"{number} {'я' * 100}" for number in range(200)]
    lines[70] = "long " * 2000
    for line in lines:
        log.info("%s", line)
    stream.open.set()
    until(lambda: "".join(stream.writes).count("\n") == 200)
    assert "".join(stream.writes).splitlines() == lines
    assert lines[70] + "\n" in stream.writes
    others = [piece for piece in stream.writes if "long" not in piece]
    assert len(others) < 20
    # What other processes write to the same pipe comes between whole lines only.
    assert max(len(piece.encode()) for piece in others) <= 4096
    assert all(piece.endswith("\n") for piece in others)


def test_who_logs_waits_when_nobody_reads(
    stream: Written, log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_MOST_WAITING", 10)
    stream.open.clear()
    logged: list[int] = []

    def talk() -> None:
        for number in range(100):
            log.info("%d", number)
            logged.append(number)

    talking = threading.Thread(target=talk)
    talking.start()
    until(lambda: len(logged) >= 10)
    time.sleep(0.1)
    assert len(logged) < 15
    stream.open.set()
    talking.join()
    until(lambda: "".join(stream.writes).split() == [str(number) for number in range(100)])


def test_a_wrong_format_fails_nobody(stream: Written, log: logging.Logger) -> None:
    log.info("%d", "no number")
    log.info("next")
    until(lambda: stream.writes == ["next\n"])


def test_the_end_of_a_process_loses_no_line_and_a_fork_doubles_none() -> None:
    script = """
import logging, os
from evolvex_api import logs
logs.configure()
log = logging.getLogger("x")
for number in range(300):
    log.info("parent %d", number)
child = os.fork()
for number in range(300):
    log.info("%s %d", "after" if child else "child", number)
if child:
    os.waitpid(child, 0)
logs.info(("end", 1))
"""
    said = subprocess.run(
        # From Python 3.12 on a fork of a process with threads warns on standard error.
        [sys.executable, "-W", "ignore", "-c", script],
        env={name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"},
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    for who in ("parent", "after", "child"):
        told = [int(line.split()[-1]) for line in said.splitlines() if f" {who} " in line]
        assert told == list(range(300)), who
    # With a time of its own where systemd's journal adds none.
    ends = [line for line in said.splitlines() if "end" in line]
    assert len(ends) == 2
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d [\d:]{8},\d{3} INFO \('end', 1\)", e) for e in ends)


def test_an_object_becomes_a_line_when_it_is_written(stream: Written) -> None:
    handler = logs.LineHandler(stream)
    stream.open.clear()
    line = ["first"]
    handler.put("x")
    handler.put(line)
    line.append("then")
    stream.open.set()
    until(lambda: "".join(stream.writes) == "x\n['first', 'then']\n")
