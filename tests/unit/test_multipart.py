"""multipart/form-data, whatever the pieces in which it is read."""

from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvex_api import multipart
from evolvex_api.core.refusals import ApiError
from evolvex_api.multipart import Incomplete, Part, Reader

BOUNDARY = b"XyZ"
END = b"--XyZ--\r\n"


class Slow(io.BytesIO):
    """Gives one byte at a time."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(1)


def part(disposition: bytes, content: bytes) -> bytes:
    return (
        b"--XyZ\r\nContent-Disposition: form-data" + disposition + b"\r\n\r\n" + content + b"\r\n"
    )


def parts(body: bytes, files: bool = True, slow: bool = False) -> list[Part]:
    source = Slow(body) if slow else io.BytesIO(body)
    return list(Reader(source, BOUNDARY, frozenset({"file"})).parts(files))


@given(st.binary(max_size=300), st.booleans())
def test_a_file_is_kept_to_the_byte(content: bytes, slow: bool) -> None:
    if b"--XyZ" in content:
        return
    body = part(b'; name="a"', b"1") + part(b'; name="file"; filename="x"', content) + END
    found = parts(body, slow=slow)
    assert [(one.name, one.text, one.filename) for one in found] == [
        ("a", "1", None),
        ("file", "", "x"),
    ]
    assert found[1].file is not None
    assert found[1].file.read() == content
    assert [one.name for one in parts(body, files=False)] == ["a"]


@given(st.binary(max_size=200))
def test_anything_is_a_form_or_refused(content: bytes) -> None:
    with contextlib.suppress(ApiError, Incomplete):
        parts(b"--XyZ\r\n" + content)


@pytest.mark.parametrize(
    ("disposition", "name", "filename"),
    [
        ('; name="file"; filename="звук.wav"'.encode(), "file", "звук.wav"),
        (b"; name=file; filename=a.wav", "file", "a.wav"),
        (b'; filename="a \\"b\\".wav"; name="file"', "file", 'a "b".wav'),
        (b"; name=\"file\"; filename*=utf-8''%D0%B0.wav", "file", "а.wav"),
        (b'; name="file"; filename="C:\\dir\\a.wav"', "file", "C:\\dir\\a.wav"),
    ],
)
def test_names_as_clients_write_them(disposition: bytes, name: str, filename: str) -> None:
    found = parts(b"preamble\r\n" + part(disposition, b"x") + END + b"epilogue")
    assert [(one.name, one.filename) for one in found] == [(name, filename)]


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_form_that_is_cut_off_is_incomplete(cut: int) -> None:
    body = part(b'; name="a"', b"1") + END
    with pytest.raises(Incomplete):
        parts(body[: -cut - 2])


def test_text_is_limited_over_all_fields() -> None:
    one = part(b'; name="a"', b"x" * 30_000)
    assert len(parts(one * 2 + END)) == 2
    with pytest.raises(ApiError) as refused:
        parts(one * 3 + END)
    assert refused.value.code == "body_too_large"


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", "a; boundary=ä"]
)
def test_a_boundary_is_needed(content_type: str) -> None:
    with pytest.raises(ApiError):
        multipart.boundary_of(content_type)
