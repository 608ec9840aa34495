"""nginx's server blocks are found however they are written."""

import pytest

from evolvex_api.setup.nginx_conf import (
    Server,
    breaks_line,
    files_of_dump,
    servers,
    with_inserted,
)


@pytest.mark.parametrize(
    "site",
    [
        "server {\n\tlisten 80;\n}\n",
        "server { listen 80; }",
        "server\n{\n listen 80; }",
        "server{listen 80;server_name a;}",
        "# server {\nserver # {\n{ # }\n listen 80; # ;\n}",
        "http { server { listen 80; location / { return 200 '}'; } } }",
        'server { listen 80; add_header X "a { b; \\" }"; }',
        "map $a ${b} { default 1; }\nserver { listen 80; set $x ${y}z; }",
        "server { if ($a = 'x;{') { return 403; } listen 80; }",
    ],
)
def test_one_server_is_found(site: str) -> None:
    (found,) = servers(site)
    assert found.listens == [("80",)]
    assert site[found.start - 1] == "{"


@pytest.mark.parametrize(
    "site",
    [
        "upstream a { server 127.0.0.1:80; }",
        "stream { server { listen 53; } }",
        "# server { listen 80; }",
        "location /server { return 200; }",
        "",
    ],
)
def test_what_is_no_server_of_http_is_left_alone(site: str) -> None:
    assert servers(site) == []


def test_each_of_several_servers_is_found_with_its_own_words() -> None:
    site = """
    server { listen 80; server_name pbx.example.org; return 301 https://$host$request_uri; }
    server {
        listen 443 ssl http2;
        listen [::]:443 ssl;
        server_name _ pbx.example.org;
        include snippets/evolvex-api*.conf;
    }
    """
    plain, secure = servers(site)
    assert plain.urls("/x") == [("http://pbx.example.org/x", "127.0.0.1")]
    assert secure.urls("/x") == [
        ("https://pbx.example.org/x", "127.0.0.1"),
        ("https://pbx.example.org/x", "::1"),
    ]
    assert (plain.includes, secure.includes) == ([], ["snippets/evolvex-api*.conf"])


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        (("8080",), [("http://localhost:8080/x", "127.0.0.1")]),
        (("*:80", "default_server"), [("http://localhost/x", "127.0.0.1")]),
        (("10.0.0.5:8443", "ssl"), [("https://localhost:8443/x", "10.0.0.5")]),
        (("192.168.1.1",), [("http://localhost/x", "192.168.1.1")]),
        (("[::1]:81",), [("http://localhost:81/x", "::1")]),
        (("unix:/run/x.sock",), []),
    ],
)
def test_the_address_to_ask_a_server_at(
    listen: tuple[str, ...], expected: list[tuple[str, str]]
) -> None:
    assert Server(0, [listen], ["~^regex$", "*.wild", "_"]).urls("/x") == expected


def test_a_server_that_says_no_address_listens_on_port_80() -> None:
    assert Server(0).urls("/x") == [("http://localhost/x", "127.0.0.1")]


@pytest.mark.parametrize(
    ("site", "breaks"),
    [
        ("server {\n}", False),
        ("server {  \n}", False),
        ("server { }", True),
        ("server { # a\n}", True),
    ],
)
def test_whether_something_follows_on_the_line(site: str, breaks: bool) -> None:
    assert breaks_line(site, servers(site)[0].start) is breaks


def test_a_block_is_put_where_the_body_begins() -> None:
    site = "server { listen 80; }"
    assert with_inserted(site, servers(site)[0].start, "X") == "server {X listen 80; }"


def test_the_files_of_a_dump() -> None:
    dump = (
        "# configuration file /etc/nginx/nginx.conf:\nhttp { include x; }\n\n"
        "# configuration file /etc/nginx/sites-enabled/a b:\nserver { }\n"
    )
    assert files_of_dump(dump) == {
        "/etc/nginx/nginx.conf": "http { include x; }\n\n",
        "/etc/nginx/sites-enabled/a b": "server { }\n",
    }
