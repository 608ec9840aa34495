"""MySQL's packets of rows, as a protocol without I/O: bytes in, rows out.

PyMySQL makes an object of each packet, which takes longer than the server's own work, so the rows
of an answer are cut out here. It needs a query whose rows have one column, a text, and begins
where the answer's head (columns, and the packet that ends them) has been read.

    packet   3 bytes length, 1 byte sequence number, payload
    row      payload: length-encoded integer, then that many bytes of text
    end      payload: 0xFE and less than 0xFFFFFF bytes;  error: 0xFF, number, text

Packets: https://mariadb.com/kb/en/0-packet/ and https://mariadb.com/kb/en/result-set-packets/
"""

from __future__ import annotations

import struct

from pymysql.err import OperationalError, raise_mysql_exception

# How many bytes a text's length takes, by the first of them; 0 stands for what is not a row:
# 0xFB NULL, 0xFE the end, 0xFF an error.
_LENGTH_BYTES = bytes([1] * 251 + [0, 3, 4, 0, 0])
_head = struct.Struct("<I").unpack_from
_LARGEST = 0xFFFFFF


class RowPackets:
    """Cuts the rows out of an answer; `ended` is true when the answer's last packet was seen."""

    def __init__(self) -> None:
        self.ended = False
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The rows that are complete with these bytes, which follow the ones given before.

        Raises MySQLError for an error of the server, and for a row that is NULL or does not fit
        one packet (over max_allowed_packet or 16 MiB), which no call's row is.
        """
        buffer = self._rest + data if self._rest else data
        rows: list[bytes] = []
        append = rows.append
        position, end = 0, len(buffer)
        while position + 4 < end:
            payload = position + 4
            size = _head(buffer, position)[0] & _LARGEST
            following = payload + size
            if following > end:
                break
            skip = _LENGTH_BYTES[buffer[payload]]
            if not skip or size == _LARGEST:
                _check_end(buffer[payload:following])
                self.ended, self._rest = True, b""
                return rows
            append(buffer[payload + skip : following])
            position = following
        self._rest = buffer[position:]
        return rows


def _check_end(packet: bytes) -> None:
    """Return for the packet that ends an answer; raise MySQLError for any other."""
    if packet[0] == 0xFF:
        raise_mysql_exception(packet)
    if packet[0] != 0xFE or len(packet) == _LARGEST:
        raise OperationalError(1301, "a row is larger than a packet may be")
