"""Setup's lines in other programs' files, between two marks.

The marks are what `setup --remove` and the package's purge look for.
"""

from __future__ import annotations

import re

_BEGIN = ">>> evolvex-api setup: written by `evolvex-api setup`, undone by `setup --remove`"
_END = "<<< evolvex-api setup"
# A block that had to break a line of the file; taking it out joins the line again.
_INLINE = " (breaks a line)"

_BLOCK = re.compile(
    rf"(?:\n[#;] {re.escape(_BEGIN + _INLINE)}|^[#;] {re.escape(_BEGIN)})\n"
    rf".*?^[#;] {re.escape(_END)}\n",
    re.MULTILINE | re.DOTALL,
)


def marked_block(lines: str, comment: str = "#", inline: bool = False) -> str:
    """Lines of configuration between two marks; `comment` is what starts a comment there.

    With `inline` the block begins with a line end, to stand in the middle of a line.
    """
    begin = f"\n{comment} {_BEGIN}{_INLINE}" if inline else f"{comment} {_BEGIN}"
    return f"{begin}\n{lines.rstrip()}\n{comment} {_END}\n"


def block_in(text: str) -> str:
    """The first marked block in a text, marks included; '' if there is none."""
    found = _BLOCK.search(text)
    return found[0] if found else ""


def with_block(before: str, block: str) -> str:
    """A file's text with its marked block replaced by `block`, or with the block at its end.

    An empty `block` takes every marked block out.
    """
    if _BLOCK.search(before):
        return _BLOCK.sub(lambda _: block, before, count=1 if block else 0)
    gap = "\n" if before and not before.endswith("\n") and block else ""
    return f"{before}{gap}{block}"
