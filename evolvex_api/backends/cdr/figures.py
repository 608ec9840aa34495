"""The figures of `stats` as one statement of SQL.

From the inside out: rows become calls (GROUP BY linkedid), calls get their direction and the last
time at which somebody talked with their number (a window function, so MariaDB 10.2 or MySQL 8),
and are counted by bucket. The service gets the buckets alone.
"""

from __future__ import annotations

import fnmatch

from evolvex_api.backends.cdr.queries import index_names, joined, period, scoped
from evolvex_api.backends.cdr.table import Sql, Table, quoted
from evolvex_api.core.stats import DIRECTIONS, Question

# So much of a statement's temporary tables stays in the server's memory; more goes to its disk.
SESSION = "SET SESSION tmp_table_size = 67108864, max_heap_table_size = 67108864"

# Numbers are the same when their last digits are: +79161234567, 89161234567, 9161234567.
_DIGITS = 10
_KEYS = {
    "hour": "DATE_FORMAT(begun, '%%Y-%%m-%%d %%H:00')",
    "day": "DATE_FORMAT(begun, '%%Y-%%m-%%d')",
    "weekday": "CAST(WEEKDAY(begun) + 1 AS CHAR)",
    "agent": "CAST(name AS BINARY)",
    "queue": "CAST(name AS BINARY)",
}


def figures(table: Table, question: Question) -> Sql:
    """The statement whose rows are a bucket's key and its Counts.

    By agent the key is the name of an endpoint, of which several may be one agent's.
    """
    calls, arguments = _calls(table, question)
    taken, talk, answer = "answered", "talk", "answer"
    if question.by in ("agent", "queue"):
        parts, further = _parts(table, question)
        calls, arguments = f"{calls} JOIN ({parts}) AS parts USING (id)", (*arguments, *further)
    if question.by == "agent":
        # A call that somebody else answered is none of an agent at whom it rang.
        made = "(made AND way <> 'in')"  # the trunk's channel makes a call from outside
        calls += f" WHERE {made} OR took OR NOT (made OR answered)"
        taken = f"IF({made}, answered, took)"
        talk, answer = f"IF({made}, talk, part_talk)", f"IF({made}, answer, part_answer)"
    sums = _sums(taken, talk, answer)
    return f"SELECT {_KEYS[question.by]} AS bucket, {sums} FROM {calls} GROUP BY bucket", arguments  # noqa: S608


def _sums(taken: str, talk: str, answer: str) -> str:
    """The fields of Counts; given whether a call was answered, its seconds, and when."""
    wait = f"GREATEST(IFNULL(TIMESTAMPDIFF(SECOND, begun, IF({taken}, {answer}, ended)), 0), 0)"
    inbound, missed = "way = 'in'", "(way = 'in' AND NOT answered)"
    return ", ".join(
        f"CAST(IFNULL({sql}, 0) AS SIGNED)"
        for sql in (
            "COUNT(*)",
            f"SUM({inbound})",
            "SUM(way = 'out')",
            "SUM(way = 'internal')",
            f"SUM({taken})",
            f"SUM({missed})",
            f"SUM({missed} AND (reached IS NULL OR reached <= begun))",
            f"SUM(IF({taken}, {talk}, 0))",
            f"SUM({inbound})",
            f"SUM(IF({inbound}, {wait}, 0))",
            f"MAX(IF({inbound}, {wait}, 0))",
        )
    )


def _calls(table: Table, question: Question) -> Sql:
    """The calls: when they began and ended, whether answered, their way and when reached."""
    grouped, arguments = _grouped(table, question)
    # What the dialplan wrote counts before what numbers and contexts suggest.
    way = (
        "CASE WHEN way_in THEN 'in' WHEN way_out THEN 'out' WHEN way_internal THEN 'internal'"
        " WHEN inbound THEN 'in' WHEN external IS NOT NULL THEN 'out' ELSE 'internal' END"
    )
    with_way = f"SELECT grouped.*, {way} AS way FROM ({grouped}) AS grouped"  # noqa: S608
    number = "NULLIF(IF(way = 'out', external, caller), '')"
    latest = f"MAX(IF(answered AND way <> 'internal', begun, NULL)) OVER (PARTITION BY {number})"
    reached = f"IF({number} IS NULL, NULL, {latest})"  # nobody calls a hidden number back
    calls = f"SELECT directed.*, {reached} AS reached FROM ({with_way}) AS directed"  # noqa: S608
    return f"({calls}) AS calls", arguments


def _grouped(table: Table, question: Question) -> Sql:
    """The rows of a period by their call."""
    person, billed = _person(table), _or_null(table.text("billsec"))
    local = f"{_or_null(table.text('dstchannel'))} LIKE 'Local/%%'"
    own = f"{_or_null(table.text('uniqueid'))} = {_or_null(table.text('linkedid'))}"
    caller = f"RIGHT({_or_null(table.text('src'))}, {_DIGITS})"
    ways, words = _ways(table)
    inbound, contexts = _inbound(table, question)
    external, numbers = _external(table, question)
    # A chain of Local channels has several rows of the same talk; only one is an endpoint's.
    talk = (
        f"COALESCE(SUM(IF({person} AND NOT {local}, {billed}, NULL)),"
        f" MAX(IF({person}, {billed}, 0)))"
    )
    fields = (
        f"{_call_id(table)} AS id",
        f"MIN({table.moment}) AS begun",
        f"MAX({_or_null(table.field('end'))}) AS ended",
        f"MAX({person}) AS answered",
        f"MIN(IF({person}, {_or_null(table.field('answer'))}, NULL)) AS answer",
        f"{talk} AS talk",
        f"COALESCE(MAX(IF({own}, {caller}, NULL)), MAX({caller})) AS caller",
        *ways,
        f"MAX({inbound}) AS inbound",
        f"MAX({external}) AS external",
    )
    source, further = _source(table, question)
    sql = f"SELECT {', '.join(fields)} FROM {source} GROUP BY id"  # noqa: S608
    return sql, (*words, *contexts, *numbers, *further)


def _parts(table: Table, question: Question) -> Sql:
    """Who or what took part in each call: a row for each of its endpoints, or of its queues."""
    source, arguments = _source(table, question)
    if question.by == "queue":
        name = f"SUBSTRING_INDEX({_or_null(table.text('lastdata'))}, ',', 1)"
        condition = f"{_or_null(table.text('lastapp'))} = 'Queue'"
        fields = f"{_call_id(table)} AS id, {name} AS name"
        return f"SELECT DISTINCT {fields} FROM {source} AND {condition}", arguments  # noqa: S608
    person = _person(table)
    sides = []
    for column, made in (("channel", "1"), ("dstchannel", "0")):
        channel = _or_null(table.text(column))
        took = "0" if made == "1" else person
        # Whoever called, and in a call from outside only whoever was called.
        own = f"{_or_null(table.text('uniqueid'))} = {_or_null(table.text('linkedid'))}"
        condition = own if made == "1" else f"{channel} <> ''"
        sides.append(
            f"SELECT {_call_id(table)} AS id, {_endpoint(channel)} AS name, {made} AS made_it,"  # noqa: S608
            f" {took} AS took_it, {_or_null(table.field('answer'))} AS answer_it,"
            f" {_or_null(table.text('billsec'))} AS talk_it FROM {source} AND {condition}"
        )
    sql = (
        "SELECT id, name, MAX(made_it) AS made, MAX(took_it) AS took,"  # noqa: S608
        " MIN(IF(took_it, answer_it, NULL)) AS part_answer,"
        " MAX(IF(took_it, talk_it, 0)) AS part_talk"
        f" FROM ({' UNION ALL '.join(sides)}) AS sides GROUP BY id, name"
    )
    return sql, arguments * 2


def _source(table: Table, question: Question) -> Sql:
    """FROM and WHERE: the rows of the period that the group may see."""
    low, high = period(question.start, question.end)
    times = joined(
        (
            (f"({quoted(s.time)} >= %s AND {quoted(s.time)} < %s AND {s.condition})", (low, high))
            for s in table.streams
        ),
        " OR ",
    )
    condition, arguments = joined([times, scoped(table, question.scope)])
    index = table.streams[0].index if len(table.streams) == 1 else None
    hint = f" FORCE INDEX ({index_names([index])})" if index else ""
    return f"{table.sql}{hint} WHERE {condition}", arguments


def _call_id(table: Table) -> str:
    """What the rows of a call have in common, short, so that grouping stays in memory."""
    linkedid, uniqueid = (_or_null(table.text(name)) for name in ("linkedid", "uniqueid"))
    return f"UNHEX(MD5(COALESCE(NULLIF({linkedid}, ''), {uniqueid}, '')))"


def _person(table: Table) -> str:
    """True for a row in which a person answered: ANSWERED, and somebody was called."""
    disposition, called = (_or_null(table.text(name)) for name in ("disposition", "dstchannel"))
    return f"IFNULL({disposition} = 'ANSWERED' AND {called} <> '', FALSE)"


def _ways(table: Table) -> tuple[list[str], tuple[str, ...]]:
    """A field for each direction: whether the dialplan wrote it into one of the call's rows."""
    direction = f"LOWER({_or_null(table.text('direction'))})"
    fields: list[str] = []
    arguments: list[str] = []
    for way, words in DIRECTIONS.items():
        fields.append(f"MAX({direction} IN ({', '.join(['%s'] * len(words))})) AS way_{way}")
        arguments += words
    return fields, tuple(arguments)


def _inbound(table: Table, question: Question) -> Sql:
    """True for a row in a context of calls from outside, or with the number that was dialled
    there (FreePBX's did)."""
    did = f"IFNULL({_or_null(table.text('did'))} <> '', FALSE)"
    if not question.inbound_contexts:
        return did, ()
    patterns = "|".join(fnmatch.translate(pattern) for pattern in question.inbound_contexts)
    return f"({did} OR {_matches(_or_null(table.text('dcontext')))})", (f"^(?:{patterns})",)


def _external(table: Table, question: Question) -> Sql:
    """The last digits of the number that a row dialled, NULL if it is an extension of this PBX."""
    dst = _or_null(table.text("dst"))
    own = f"^(?:{question.internal_numbers.pattern})$"
    condition = f"{_matches(dst)} AND NOT {_matches(dst)}"
    return f"IF({condition}, RIGHT({dst}, {_DIGITS}), NULL)", ("^[+]?[0-9]+$", own)


def _matches(text: str) -> str:
    """A regular expression that knows the case of letters, whatever the column's collation."""
    return f"IFNULL((CONVERT({text} USING utf8mb4) COLLATE utf8mb4_bin) REGEXP %s, FALSE)"


def _or_null(sql: str | None) -> str:
    return sql or "NULL"


def _endpoint(channel: str) -> str:
    """The name in a channel's: `101` of PJSIP/101-0000ab12 and of Local/101@queue-0001;1."""
    name = f"SUBSTRING({channel}, LOCATE('/', {channel}) + 1)"
    cut = f"CHAR_LENGTH({name}) - LOCATE('-', REVERSE({name}))"
    return f"IF(LOCATE('@', {name}), SUBSTRING_INDEX({name}, '@', 1), LEFT({name}, {cut}))"
