"""The protocol between a client and a board's agent: messages, verbs, limits.

A message is 16 bytes (`MAGIC`, the bytes of the head, the bytes of the body, little-endian), then
the head, a JSON object, then the body, raw bytes. The client sends one request and waits for its
answer; the one exception is ``interrupt``, which it may send during ``launch``.

| verb | head | body | answer |
|---|---|---|---|
| hello | protocol, version, registers, token | | version, kind, address, nbytes, emulated |
| open | | | (events: place) |
| identify | | | registers |
| program | clock_hz (may be left out) | bitstream | (events) |
| write | addr | the bytes | |
| read | addr, nbytes | | body: the bytes |
| launch | insn_addr, insn_count, base, timeout | the stream (*) | (events) registers, seconds |
| interrupt | | | none; it ends the launch |
| reset | | | |
| ping | | | |
| close | | | |

``launch`` resets the machine first. (*) The body may be left out if the stream is in memory
already; else it has 16 bytes for each of `insn_count` instructions, and is put at `insn_addr`.

A request has a number, `id`, that its answer repeats. An answer has ``ok`` or ``error`` (an
exception's name in `ERRORS`, with ``message``); an error whose `id` is null ends the session. An
event has ``event`` and may come before the answer: ``waiting`` while others use the board (with
``place``: 1 is next), ``running`` during a run and ``programming`` while the FPGA is programmed, so
that the client knows that the board is alive.

No length is believed before it is checked, a body goes straight to where it belongs, and no verb
carries code.
"""

from __future__ import annotations

import ipaddress
import json
import struct
from typing import Any

from vta.errors import DeviceError, DeviceTimeout, RemoteError

__all__ = [
    "BEAT_SECONDS",
    "CALL_SECONDS",
    "ERRORS",
    "HELLO_SECONDS",
    "IDLE_SECONDS",
    "MAGIC",
    "MAX_CONNECTIONS",
    "MAX_HEAD",
    "MAX_HELLO",
    "MAX_MOVE",
    "PORTS",
    "PREFIX",
    "PROTOCOL",
    "ProtocolError",
    "decode_head",
    "encode_head",
    "is_loopback",
    "number",
]

PROTOCOL = 2
"""The version of all that this page says."""

MAGIC = b"VTA1"
PREFIX = struct.Struct("<4sIQ")

MAX_HEAD = 1 << 14
"""The most bytes of a head."""

MAX_HELLO = 1 << 10
"""The most bytes of a head from a client that has not been let in."""

MAX_MOVE = 1 << 32
"""The most bytes of a ``write`` or ``read``."""

MAX_CONNECTIONS = 64
"""The most clients that a daemon serves or lets wait."""

HELLO_SECONDS = 10.0
"""How long a client may take to be let in, and to send the rest of any head."""

CALL_SECONDS = 60.0
"""How long either side waits for a part of a body, and the client for an answer."""

BEAT_SECONDS = 5.0
"""How often the agent says that a client waits, or that a run or the programming goes on."""

PORTS = range(9091, 9200)
"""Where a daemon listens, unless told otherwise: the first of these that is free."""

IDLE_SECONDS = 600.0
"""How long a client may keep a board without using it."""


class ProtocolError(RemoteError):
    """The peer does not keep to the protocol."""


ERRORS: dict[str, type[DeviceError]] = {
    kind.__name__: kind for kind in (DeviceError, DeviceTimeout, RemoteError, ProtocolError)
}
"""The exceptions that an answer may name."""


def encode_head(head: dict[str, Any], nbytes: int) -> bytes:
    """The start of a message: everything but the body, which has `nbytes`."""
    raw = json.dumps(head, separators=(",", ":")).encode()
    return PREFIX.pack(MAGIC, len(raw), nbytes) + raw


def decode_head(raw: bytes) -> dict[str, Any]:
    """The JSON object of a head.

    Raises
    ------
    ProtocolError
        If it is not one.
    """
    try:
        head = json.loads(raw)
    except (ValueError, RecursionError):
        raise ProtocolError("a head must be JSON") from None
    if not isinstance(head, dict):
        raise ProtocolError("a head must be a JSON object")
    return head


def is_loopback(host: str) -> bool:
    """Whether a host is this computer, so that what is sent there stays inside."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def number(head: dict[str, Any], key: str, limit: int) -> int:
    """A whole number from 0 to `limit` of a head.

    Raises
    ------
    ProtocolError
        If it is missing, or is something else.
    """
    value = head.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
        raise ProtocolError(f"{key} must be a whole number from 0 to {limit}, not {value!r:.40}")
    return value
