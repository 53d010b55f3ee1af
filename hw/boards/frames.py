"""Frames on a serial line: requests in, answers out, each with a CRC. `UartBridge` has the form."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["HEADER", "READ", "WRITE", "FrameReceiver", "FrameSender"]

REQUEST, ANSWER = 0x56, 0x76
"""The first byte of a frame."""

CRC_START, _CRC_POLY = 0xFFFF, 0x1021


READ, WRITE = 1, 2
"""Operations, which a request's header names."""

HEADER = data.StructLayout({"sequence": 8, "operation": 8, "more": 8, "addr": 32})
"""What follows the first byte of a request. `more` is the number of words less one."""


def _crc(crc: Value, byte: Value) -> Value:
    """CRC-16-CCITT, the highest bit first."""
    bits = [crc[index] for index in range(16)]
    for index in reversed(range(8)):
        feedback = bits[15] ^ byte[index]
        bits = [C(0, 1), *bits[:15]]
        bits = [bit ^ feedback if _CRC_POLY >> place & 1 else bit for place, bit in enumerate(bits)]
    return Cat(bits)


class FrameReceiver(wiring.Component):
    """Finds requests in the bytes of a line, and checks them.

    A frame that is damaged or cut short is dropped: bytes until the next first byte are skipped,
    and a frame ends when the line rests for `patience` cycles.

    Parameters
    ----------
    patience : int

    Members
    -------
    data, valid : In
        From `UartReceiver`.
    header : Out(HEADER)
        Of the last request; valid with `good` and until the next frame starts.
    good : Out(1)
        In one cycle for each request.
    word_en, word_index, word_data : Out
        The words of a write, which come before `good`.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        super().__init__(
            {
                "data": In(8),
                "valid": In(1),
                "header": Out(HEADER),
                "good": Out(1),
                "word_en": Out(1),
                "word_index": Out(8),
                "word_data": Out(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        crc = Signal(16)
        count = Signal(10)
        header = Value.cast(self.header)
        silence = Signal(range(self._patience + 1))
        m.d.sync += [self.good.eq(0), self.word_en.eq(0)]
        late = silence == self._patience
        with m.If(self.valid):
            m.d.sync += [crc.eq(_crc(crc, self.data)), count.eq(count + 1)]
        # REST waits for a first byte; the header, the words of a write and the CRC follow.
        with m.FSM() as fsm:
            with m.State("REST"):
                with m.If(self.valid & (self.data == REQUEST)):
                    m.d.sync += [crc.eq(CRC_START), count.eq(0)]
                    m.next = "HEADER"
            with m.State("HEADER"):
                with m.If(self.valid):
                    m.d.sync += header.eq(Cat(header[8:], self.data))
                    with m.If(count == len(header) // 8 - 1):
                        m.d.sync += count.eq(0)
                        # The operation is in its place once the last byte has come.
                        with m.If(header[16:24] == WRITE):
                            m.next = "WORDS"
                        with m.Else():
                            m.next = "CRC"
                with m.If(late):
                    m.next = "REST"
            with m.State("WORDS"):
                with m.If(self.valid):
                    m.d.sync += self.word_data.eq(Cat(self.word_data[8:], self.data))
                    with m.If(count[:2] == 3):
                        m.d.sync += [self.word_en.eq(1), self.word_index.eq(count[2:])]
                        with m.If(count[2:] == self.header.more):
                            m.d.sync += count.eq(0)
                            m.next = "CRC"
                with m.If(late):
                    m.next = "REST"
            with m.State("CRC"):
                # Over a frame with its CRC, the CRC is 0.
                with m.If(self.valid & (count[0] == 1)):
                    m.d.sync += self.good.eq(_crc(crc, self.data) == 0)
                    m.next = "REST"
                with m.If(late):
                    m.next = "REST"
        with m.If(self.valid | fsm.ongoing("REST")):
            m.d.sync += silence.eq(0)
        with m.Else():
            m.d.sync += silence.eq(silence + 1)
        return m


class FrameSender(wiring.Component):
    """Sends answers.

    Members
    -------
    start : In(1)
        Begins a frame; the other inputs stay until `done`.
    sequence, status : In(8)
    more : In(8)
        The number of words less one.
    with_words : In(1)
        Whether the frame has words.
    word_index : Out(8)
    word_data : In(32)
        The word of the index of the cycle before.
    done : Out(1)
        In the cycle in which the last byte is handed over.
    o : Out(stream of 8 bits)
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "start": In(1),
                "sequence": In(8),
                "status": In(8),
                "more": In(8),
                "with_words": In(1),
                "word_index": Out(8),
                "word_data": In(32),
                "done": Out(1),
                "o": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        crc = Signal(16)
        count = Signal(10)
        taken = self.o.valid & self.o.ready
        first = Signal()
        with m.If(taken):
            m.d.sync += [count.eq(count + 1), crc.eq(_crc(crc, self.o.payload))]
        # The buffer answers in the next cycle: the index runs ahead of the byte that is sent.
        m.d.comb += self.word_index.eq((count + taken)[2:])

        with m.FSM():
            with m.State("REST"):
                with m.If(self.start):
                    m.d.sync += [first.eq(1), count.eq(0)]
                    m.next = "HEADER"
            with m.State("HEADER"):
                header = Array([C(ANSWER, 8), self.sequence, self.status, self.more])
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(header[count[:2]])]
                with m.If(taken):
                    m.d.sync += first.eq(0)
                    with m.If(first):
                        m.d.sync += crc.eq(CRC_START)
                    with m.If(count == 3):
                        m.d.sync += count.eq(0)
                        m.d.comb += self.word_index.eq(0)
                        with m.If(self.with_words):
                            m.next = "WORDS"
                        with m.Else():
                            m.next = "CRC"
            with m.State("WORDS"):
                m.d.comb += [
                    self.o.valid.eq(1),
                    self.o.payload.eq(self.word_data.word_select(count[:2], 8)),
                ]
                with m.If(taken & (count[:2] == 3) & (count[2:] == self.more)):
                    m.d.sync += count.eq(0)
                    m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(Mux(count[0], crc[:8], crc[8:]))]
                with m.If(taken):
                    # The CRC does not count itself.
                    m.d.sync += crc.eq(crc)
                    with m.If(count[0]):
                        m.d.comb += self.done.eq(1)
                        m.next = "REST"
        return m
