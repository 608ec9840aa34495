"""AMI and the call log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from evolvex_api.backends.ami.client import Ami
from evolvex_api.backends.cdr.client import Cdr, Facts
from evolvex_api.backends.failures import BackendFailure
from evolvex_api.config import Config
from evolvex_api.core.calllog import FIELDS
from evolvex_api.doctor.findings import Finding, cause

_CLOCK_TOLERANCE = 5.0


def check_ami(config: Config) -> Iterator[Finding]:
    """Whether the AMI user can log in, and has the rights that the methods need."""
    where = f"{config.ami.host}:{config.ami.port}"
    fix = (
        "run evolvex-api setup; by hand: manager.conf and [ami]. "
        "`asterisk -rx 'manager show user NAME'` shows a user's rights"
    )
    try:
        facts = Ami(config.ami).describe()
    except BackendFailure as error:
        yield Finding("AMI", "fail", f"{where}: {error}{cause(error)}", fix)
        return
    yield Finding("AMI", "ok", f"{where} answers, {facts.version}")
    for right, granted in facts.rights.items():
        if granted:
            yield Finding(f"AMI right {right}", "ok", "granted")
        else:
            yield Finding(f"AMI right {right}", "fail", "missing", fix)


def check_events_login(config: Config) -> Iterator[Finding]:
    """Whether the service of live calls can log in."""
    events = config.events
    fix = "run evolvex-api setup, which makes this AMI user"
    if not events.secret:
        yield Finding("AMI of live calls", "warn", "[events] secret is not set", fix)
        return
    settings = replace(config.ami, username=events.username, secret=events.secret)
    try:
        Ami(settings).describe()
    except BackendFailure as error:
        yield Finding("AMI of live calls", "fail", f"{error}{cause(error)}", fix)
        return
    yield Finding("AMI of live calls", "ok", f"{events.username} can log in")


def check_call_log(config: Config) -> Iterator[Finding]:
    """Whether the table can be read, its columns, its index, and the server's clock."""
    try:
        facts = Cdr(config.cdr).describe()
    except BackendFailure as error:
        fix = "run evolvex-api setup; by hand: [cdr], whose user needs SELECT on the table"
        yield Finding("call log", "fail", f"{error}{cause(error)}", fix)
        return
    table = f"{config.cdr.database}.{config.cdr.table}"
    yield Finding("call log", "ok", f"{table} on {facts.server}, {len(facts.columns)} columns")
    known = {column.lower() for column in facts.columns} | {"start", "answer", "end"}
    missing = [field for field in FIELDS if field not in known]
    if missing:
        yield Finding("call log columns", "ok", f"null in every answer: {', '.join(missing)}")
    yield _index(config, facts)
    if facts.stored:
        found = f"columns that declare another character set hold {facts.stored}"
        fix = f"charset = {facts.stored} in [cdr]"
        yield Finding("call log text", "warn", found, fix)
    yield _clock(facts)


def _index(config: Config, facts: Facts) -> Finding:
    if facts.index:
        return Finding("call log index", "ok", f"{facts.index} on {facts.time_column}")
    fix = f"ALTER TABLE {config.cdr.table} ADD INDEX ({facts.time_column})"
    return Finding("call log index", "warn", f"none on {facts.time_column}, so slow", fix)


def _clock(facts: Facts) -> Finding:
    apart = abs((facts.now - datetime.now()).total_seconds())
    if apart <= _CLOCK_TOLERANCE:
        return Finding("clock", "ok", "the same as the database's")
    fix = "give the database and this host the same time zone and clock"
    return Finding("clock", "warn", f"the database's clock is {apart:.0f} s off", fix)
