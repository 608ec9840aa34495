"""Who a key belongs to and what shuts it out, as files change under the running service."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import uuid
from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from tests.integration import contract
from tests.lab.asterisk import Asterisk
from tests.lab.mariadb import MariaDB
from tests.lab.server import wait_until
from tests.lab.service import PREFIX, Answer, Service


@pytest.fixture(scope="module")
def service(asterisk: Asterisk, database: MariaDB) -> Iterator[Service]:
    """A service of its own."""
    made = Service(asterisk, database)
    made.on_answer = contract.assert_conforms
    with contextlib.closing(made):
        yield made.start()


@pytest.fixture(scope="module")
def group(service: Service) -> str:
    """A group with every context."""
    return service.add_group("all", ["*"])


def check(service: Service, key: str) -> Answer:
    """What a key gets from `check`."""
    return service.get("check", key)


def is_shut(service: Service, key: str) -> bool:
    """True when no worker lets the key in; which one answers is chance."""
    return all(check(service, key).status != 200 for _ in range(10))


def test_a_key_made_a_moment_ago_works_at_once(service: Service, group: str) -> None:
    for number in range(20):
        assert check(service, str(uuid.uuid4())).code == "unknown_key"
        assert check(service, service.add_user(f"new{number}", group)).status == 200


@pytest.mark.parametrize(
    "withdraw", ["remove", "disable", "rotate", "group", "expire", "elsewhere"]
)
def test_what_is_withdrawn_is_shut(service: Service, withdraw: str) -> None:
    key = service.add_user(withdraw, service.add_group(withdraw, ["*"]))
    assert check(service, key).status == 200
    path = service.directory / "users.d" / f"{withdraw}.conf"
    text = path.read_text()
    digest = hashlib.sha256(key.encode()).hexdigest()
    changed = {
        "disable": text.replace("enable = yes", "enable = no"),
        "rotate": text.replace(digest, "0" * 64),
        "expire": f"{text}expires = 2020-01-01\n",
        "elsewhere": f"{text}allowed_from = 192.0.2.0/24\n",
    }
    if withdraw == "remove":
        path.unlink()
    elif withdraw == "group":
        (service.directory / "groups.d" / f"{withdraw}.conf").unlink()
    else:
        path.write_text(changed[withdraw])
    wait_until(lambda: is_shut(service, key), 5, "the key is shut out")


@pytest.mark.parametrize(
    ("further", "code"),
    [
        ({"allowed_from": "127.0.0.1"}, None),
        ({"allowed_from": "10.0.0.0/8, 127.0.0.0/8"}, None),
        ({"allowed_from": "10.0.0.0/8, 192.168.1.5, ::1"}, "address_denied"),
        ({"expires": date.today().isoformat()}, None),
        ({"expires": (date.today() + timedelta(1)).isoformat()}, None),
        ({"expires": (date.today() - timedelta(1)).isoformat()}, "user_expired"),
        ({"allowed_from": "nowhere"}, "unknown_key"),
        ({"expires": "31.01.2027"}, "unknown_key"),
        ({"role": "boss"}, "unknown_key"),
    ],
)
def test_addresses_and_the_last_day(
    service: Service, group: str, further: dict[str, str], code: str | None
) -> None:
    answer = check(service, service.add_user("bound", group, True, **further))
    assert answer.status == 200 if code is None else answer.code == code


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("[originate]\nmax_calls = ten", "[originate] max_calls: must be a whole number"),
        ("[originate]\nmax_cals = 1", "[originate] max_cals: unknown key"),
        ("[originate]\nnumbers = 7XX", "[originate] numbers: '7XX' would be taken"),
        ("[originate]\nmax_calls = 1 # few", "[originate] max_calls: must be a whole number"),
        ("[uploads]\nquota = much", "[uploads] quota: must be a size"),
        ("[upload]\nquota = 1M", "[upload]: unknown section"),
        ("rights = chek", "[group] rights: 'chek' is none of"),
        ("[context from-*]", "[context from-*]: a context is named in full"),
    ],
)
def test_a_group_whose_file_has_a_fault_grants_nothing(
    service: Service, rules: str, told: str
) -> None:
    name = uuid.uuid4().hex
    key = service.add_user(name, service.add_group(name, ["*"], rules))
    for method in ("check", "status", "get_log_cdr", "originate"):
        answer = service.get(method, key)
        assert (answer.status, answer.code) == (403, "right_denied")
        assert "evolvex-api check-config" in answer.json["detail"]
    wait_until(lambda: f"{name}.conf: {told}" in service.log(), 5, "the journal's line")


def test_two_files_of_one_user_shut_both_out(service: Service, group: str) -> None:
    key = service.add_user("twin", group)
    assert check(service, key).status == 200
    folder = service.directory / "users.d"
    text = (folder / "twin.conf").read_text()
    other = service.add_user("twin2", group)
    (folder / "twin2.conf").write_text(
        text.replace(
            hashlib.sha256(key.encode()).hexdigest(), hashlib.sha256(other.encode()).hexdigest()
        )
    )
    wait_until(lambda: is_shut(service, key), 5, "the first is shut out")
    wait_until(lambda: is_shut(service, other), 5, "the second is shut out")
    assert (check(service, key).code, check(service, other).code) == ("unknown_key", "unknown_key")
    wait_until(lambda: "twin.conf, twin2.conf have the same" in service.log(), 5, "the report")
    (folder / "twin2.conf").unlink()
    assert check(service, key).status == 200


def test_how_a_key_is_presented(service: Service, group: str) -> None:
    key = service.add_user("presented", group)
    bearer = {"Authorization": "Bearer of-a-proxy"}
    good: list[tuple[dict[str, str], dict[str, str]]] = [
        ({"api_key": key}, {}),
        ({"api_key": f" {key} "}, {}),
        ({"api_key": key}, bearer),
        ({}, bearer | {"X-API-Key": key}),
        ({}, {"X-API-Key": f" {key}  "}),
        ({}, {"Authorization": f"bearer  {key} "}),
    ]
    for params, headers in good:
        answer = service.request("GET", "check", params=params, headers=headers)
        assert answer.data["api_user"]["api_key"] == key
    assert service.request("GET", "check", headers=bearer).code == "unknown_key"
    both = service.request("GET", "check", params={"api_key": "other"}, headers={"X-API-Key": key})
    assert (both.status, both.code) == (400, "invalid_parameter")


class SocketService(Service):
    """The service at a unix socket, where only the web server of its host connects."""

    def __init__(self, asterisk: Asterisk, database: MariaDB) -> None:
        super().__init__(asterisk, database)
        self.socket = self.directory / "gunicorn.sock"
        self._options = {"server": {"bind": f"unix:{self.socket}"}}

    def check(self, key: str, forwarded: str | None) -> str:
        """The first line of the answer to `check` of a client that the web server names."""
        header = f"X-Forwarded-For: {forwarded}\r\n" if forwarded else ""
        request = f"GET {PREFIX}/check HTTP/1.0\r\nX-API-Key: {key}\r\n{header}\r\n"
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.socket))
            connection.sendall(request.encode())
            return connection.makefile("rb").read().decode()

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return "missing_key" in self.check("", None)
        return False


@pytest.mark.parametrize(
    ("forwarded", "allowed"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("10.1.2.4", False),
        # The last one is the own web server's word, what stands before it the client's.
        ("10.1.2.3, 192.0.2.7", False),
        ("192.0.2.7, 10.1.2.3", True),
        ("nonsense", False),
        (None, False),
    ],
)
def test_the_address_is_the_one_that_the_web_server_names(
    socket_service: SocketService, forwarded: str | None, allowed: bool
) -> None:
    key = socket_service.add_user(
        "web", socket_service.add_group("web", ["*"]), True, allowed_from="10.1.2.3"
    )
    answer = socket_service.check(key, forwarded)
    assert ("200 OK" in answer.partition("\r\n")[0]) is allowed, answer
    assert ("address_denied" in answer) is not allowed


@pytest.fixture(scope="module")
def socket_service(asterisk: Asterisk, database: MariaDB) -> Iterator[SocketService]:
    """A service of its own at a unix socket."""
    with contextlib.closing(SocketService(asterisk, database)) as made:
        made.start()
        yield made
