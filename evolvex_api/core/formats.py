"""The one table of audio formats: extensions, how the content is recognised, who decodes it.

The content decides what a file is. A name decides only for formats that have no header, which are
headerless samples as Asterisk's format modules write them. Nothing is opened here: the caller
passes a function that reads the file.

Sources: RFC 9639 (FLAC), RFC 3533, RFC 7845 (Ogg, Opus), RFC 4867 (AMR), ISO/IEC 14496-12 (MP4,
3GP), RFC 8794 (EBML), ISO/IEC 11172-3 and 13818-3 (MPEG audio), 13818-7 (ADTS), id3.org (ID3v2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

# Bytes of a file: from a position, at most so many.
Read: TypeAlias = Callable[[int, int], bytes]


@dataclass(frozen=True)
class Format:
    """An audio format.

    `sox` are sox's options for its input, "" when sox can't read it; `ffmpeg` is the name of
    ffmpeg's demuxer, "" likewise. sox is preferred where both can. `rate` is the sample rate in Hz
    of headerless linear samples of 16 bits, which nobody needs to decode. `unmarked` is True where
    the file does not show whether its recording has ended.
    """

    name: str
    extensions: tuple[str, ...] = ()
    sox: str = ""
    ffmpeg: str = ""
    rate: int = 0
    headerless: bool = False
    unmarked: bool = False


def _headerless(name: str, extensions: tuple[str, ...], sox: str, ffmpeg: str = "") -> Format:
    return Format(name, extensions, sox, ffmpeg, headerless=True, unmarked=True)


def _linear(rate: int, *extensions: str) -> Format:
    sox = f"-t raw -e signed-integer -b 16 -r {rate} -c 1"
    return Format(extensions[0], extensions, sox, "", rate, headerless=True, unmarked=True)


WAV = Format("wav", ("wav", "wav16", "wav49", "wave"), "-t wav", "wav")
MP3 = Format("mp3", ("mp3",), "-t mp3", "mp3")
VORBIS = Format("ogg", ("ogg", "oga"), "-t ogg", "ogg", unmarked=True)
OPUS = Format("opus", ("opus",), "", "ogg")
OGG_FLAC = Format("flac in ogg", (), "", "ogg")
FLAC = Format("flac", ("flac",), "-t flac", "flac")
MP4 = Format("m4a", ("m4a", "mp4", "3gp"), "", "mov")
WEBM = Format("webm", ("webm",), "", "matroska")
AAC = Format("aac", ("aac",), "", "aac")
AMR = Format("amr", ("amr", "awb"), "", "amr")
AU = Format("au", ("au",), "-t au", "au")
AIFF = Format("aiff", ("aiff", "aif"), "-t aiff", "aiff")
GSM = _headerless("gsm", ("gsm",), "-t gsm", "gsm")

# In the order in which files of one name are looked for; the extensions of headerless formats are
# those of Asterisk's format modules.
FORMATS = (
    *(WAV, MP3, VORBIS, GSM),
    _headerless(
        "ulaw", ("ulaw", "ul", "mu", "ulw", "pcm"), "-t raw -e mu-law -b 8 -r 8000 -c 1", "mulaw"
    ),
    _headerless("alaw", ("alaw", "al", "alw"), "-t raw -e a-law -b 8 -r 8000 -c 1", "alaw"),
    _linear(8000, "sln", "slin", "raw"),
    *(_linear(rate * 1000, f"sln{rate}") for rate in (12, 16, 24, 32)),
    _linear(44100, "sln44"),
    *(_linear(rate * 1000, f"sln{rate}") for rate in (48, 96, 192)),
    _headerless("g722", ("g722",), "", "g722"),
    *(OPUS, OGG_FLAC, FLAC, MP4, WEBM, AAC, AMR, AU, AIFF),
)
BY_EXTENSION: Mapping[str, Format] = {name: one for one in FORMATS for name in one.extensions}

# What an error names to a client as accepted.
ACCEPTED = "WAV, MP3, Ogg (Vorbis, Opus, FLAC), FLAC, M4A, AAC, WebM, AMR, 3GP, GSM, AU, AIFF"

_EBML = b"\x1a\x45\xdf\xa3"
_OGG_CODECS = ((b"\x01vorbis", VORBIS), (b"OpusHead", OPUS), (b"\x7fFLAC", OGG_FLAC))
_MAGIC = (
    (b"fLaC", FLAC),
    (b"#!AMR", AMR),
    (b".snd", AU),
    (_EBML, WEBM),
)
# What begins so is never headerless, whatever it holds.
_CONTAINERS = (b"RIFF", b"RIFX", b"RF64", b"OggS", b"FORM")
_TEXT = bytes(range(0x20, 0x7F)) + b"\t\r\n"
_HEAD = 4096
# How far the first MPEG frame may be from where it belongs.
_JUNK = 64 * 1024


def recognise(read: Read, extension: str) -> Format | None:
    """The format of a file, by its content; by its extension only for headerless formats.

    Given a function that reads the file, and the extension in any case of letters. Returns None
    for what is no audio that is known. Raises what `read` raises.
    """
    head = read(0, _HEAD)
    found = _container(head)
    if found is not None:
        return found
    tag = id3_size(head)
    if tag:
        return _after_id3(read, tag)
    found = _stream(head)
    if found is not None:
        return found
    named = BY_EXTENSION.get(extension.lower())
    if named is not None and named.headerless:
        foreign = head[:4] in _CONTAINERS or (named is GSM and not _is_gsm(head)) or _is_text(head)
        return None if foreign else named
    return MP3 if named is MP3 and _frames_somewhere(read(0, _JUNK)) else None


def spellings(extension: str) -> Iterator[str]:
    """The extension in lower case, then in every other case of letters that people write.

    All cases of three letters or fewer; of longer ones lower, upper and capitalised.
    """
    lower = extension.lower()
    yield lower
    if len(lower) <= 3:
        cases = product(*({letter, letter.upper()} for letter in lower))
        yield from sorted({"".join(case) for case in cases} - {lower})
    else:
        yield from (lower.upper(), lower.capitalize())


def id3_size(head: bytes) -> int:
    """The bytes of the ID3v2 tag with which a file begins; 0 without one."""
    if len(head) < 10 or head[:3] != b"ID3" or max(head[6:10]) > 0x7F:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    footer = 10 if head[5] & 0x10 else 0
    return 10 + size + footer


def _is_text(head: bytes) -> bool:
    """True for text in ASCII; a few different letters are also a telephone's silence in A-law."""
    return not head.translate(None, _TEXT) and len(set(head)) > 8


def _is_gsm(head: bytes) -> bool:
    """True when each frame of 33 bytes begins with GSM's signature, four bits (3GPP TS 46.010)."""
    return len(head) >= 33 and all(byte >> 4 == 0xD for byte in head[::33])


def _container(head: bytes) -> Format | None:
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        return WAV if head[8:12] == b"WAVE" else None
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return AIFF
    if head[:4] == b"OggS" and len(head) > 27:
        packet = head[27 + head[26] :]
        return next((kind for magic, kind in _OGG_CODECS if packet.startswith(magic)), None)
    if head[4:8] == b"ftyp":
        return MP4
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)


def _after_id3(read: Read, tag: int) -> Format | None:
    """What follows an ID3 tag: MPEG frames after padding, or FLAC or AAC, which has them too."""
    rest = read(tag, _JUNK)
    found = _container(rest) or _stream(rest)
    return found or (MP3 if _frames_somewhere(rest) else None)


def _stream(head: bytes) -> Format | None:
    if _follow(head, 0, _mpeg_frame):
        return MP3
    return AAC if _follow(head, 0, _adts_frame) else None


def _frames_somewhere(data: bytes) -> bool:
    position = data.find(b"\xff")
    while position >= 0:
        if _follow(data, position, _mpeg_frame):
            return True
        position = data.find(b"\xff", position + 1)
    return False


def _follow(data: bytes, position: int, measure: Callable[[bytes], int]) -> bool:
    """True when frames of one kind follow each other: three of them, or fewer up to the end.

    One sync word alone also occurs in the samples of a telephone's silence.
    """
    seen = 0
    while seen < 3:
        size = measure(data[position : position + 6])
        if not size:
            return False
        position += size
        seen += 1
        if position >= len(data):
            return seen > 1 or position == len(data)
    return True


_LAYER2 = (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_LAYER3 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_LOW = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def _mpeg_frame(head: bytes) -> int:
    """The bytes of the frame of MPEG audio, layer II or III, with this header; 0 for none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer not in (1, 2) or bits in (0, 15) or rate == 3:
        return 0
    layer3 = layer == 1
    table = _LOW if version != 3 else _LAYER3 if layer3 else _LAYER2
    spread = 72 if layer3 and version != 3 else 144
    return spread * 1000 * table[bits - 1] // _RATES[version][rate] + (head[2] >> 1 & 1)


def _adts_frame(head: bytes) -> int:
    """The bytes of the ADTS frame of AAC with this header; 0 for none."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return 0
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size if size > 7 else 0
