"""Small databases that survive restarts, faults of the file included."""

from __future__ import annotations

import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evolvex_api.backends.failures import StorageUnavailable
from evolvex_api.backends.state import StateFile

SCHEMA = "CREATE TABLE IF NOT EXISTS counted (n INTEGER NOT NULL);"


def add(state: StateFile, number: int) -> None:
    """Add a row."""
    with state.transaction() as connection:
        connection.execute("INSERT INTO counted VALUES (?)", (number,))


def rows(state: StateFile) -> list[int]:
    """All rows."""
    with state.transaction() as connection:
        return [n for (n,) in connection.execute("SELECT n FROM counted ORDER BY n")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database will lie."""
    return tmp_path / "state.sqlite3"


def test_what_was_committed_is_there_after_a_restart(path: Path) -> None:
    add(StateFile(path, SCHEMA), 1)
    assert rows(StateFile(path, SCHEMA)) == [1]


def test_a_transaction_that_raises_leaves_nothing(path: Path) -> None:
    state = StateFile(path, SCHEMA)
    with pytest.raises(ValueError, match="mine"), state.transaction() as connection:
        connection.execute("INSERT INTO counted VALUES (1)")
        raise ValueError("mine")
    assert rows(state) == []


def test_transactions_of_many_threads_and_files_follow_one_another(path: Path) -> None:
    states = [StateFile(path, SCHEMA) for _ in range(3)]

    def count_up(turn: int) -> None:
        with states[turn % 3].transaction() as connection:
            (highest,) = connection.execute("SELECT COALESCE(MAX(n), 0) FROM counted").fetchone()
            connection.execute("INSERT INTO counted VALUES (?)", (highest + 1,))

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(count_up, range(60)))
    assert rows(states[0]) == list(range(1, 61))


def test_a_forked_process_opens_the_file_for_itself(path: Path) -> None:
    state = StateFile(path, SCHEMA)
    add(state, 1)
    child = os.fork()
    if child == 0:
        add(state, 2)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    add(state, 3)
    assert rows(state) == [1, 2, 3]


@pytest.mark.parametrize(
    "content", [b"no database at all" * 500, b"SQLite format 3\0" + b"x" * 9000]
)
def test_a_damaged_file_is_set_aside(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    state = StateFile(path, SCHEMA)
    add(state, 1)
    assert rows(state) == [1]
    kept = [file for file in path.parent.iterdir() if ".damaged-" in file.name]
    assert kept[0].read_bytes() == content


def test_damage_within_pages_is_found_when_the_file_is_opened(path: Path) -> None:
    state = StateFile(path, SCHEMA)
    with state.transaction() as connection:
        connection.executemany("INSERT INTO counted VALUES (?)", ((n,) for n in range(5000)))
    state.close()
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 8192)
    assert rows(StateFile(path, SCHEMA)) == []


def test_damage_while_it_is_open_is_a_failure_once(path: Path) -> None:
    state = StateFile(path, SCHEMA)
    with pytest.raises(StorageUnavailable), state.transaction():
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error
    add(state, 1)
    assert rows(state) == [1]


def test_a_removed_or_replaced_file_is_opened_anew(path: Path) -> None:
    state = StateFile(path, SCHEMA)
    add(state, 1)
    path.unlink()
    for part in ("-wal", "-shm"):
        path.with_name(path.name + part).unlink(missing_ok=True)
    add(state, 2)
    assert rows(StateFile(path, SCHEMA)) == [2]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "missing" / "state.sqlite3", SCHEMA)
    with pytest.raises(StorageUnavailable):
        add(state, 1)
    (tmp_path / "missing").mkdir()
    add(state, 1)
    assert rows(state) == [1]


def test_a_busy_file_is_given_up_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evolvex_api.backends.state._BUSY_SECONDS", 0.05)
    state, other = StateFile(path, SCHEMA), StateFile(path, SCHEMA)
    add(state, 1)
    add(other, 2)
    with state.transaction(), pytest.raises(StorageUnavailable):
        add(other, 3)
    add(other, 3)
    assert rows(state) == [1, 2, 3]
