"""Registers and memory over a serial line."""

from __future__ import annotations

from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out, connect

from vta.hw.boards.frames import READ, WRITE, FrameReceiver, FrameSender
from vta.hw.boards.uart import UartReceiver, UartTransmitter
from vta.hw.boards.word_bus import WordBusSignature

__all__ = ["UartBridge"]


class UartBridge(wiring.Component):
    """Carries out the requests of a host at the other end of a serial line, one after another.

    A request is the byte 0x56, a sequence number, an operation (1: read, 2: write), the number of
    words less one, the byte address of the first word (4 bytes), the words of a write, and the CRC.
    An answer is the byte 0x76, the sequence number, the status (0: done, 1: refused by the bus,
    2: unknown operation), the number of words less one, the words of a read, and the CRC. Numbers
    have their lowest byte first, except the CRC: it is CRC-16-CCITT with the start 0xFFFF over all
    bytes but the first, its highest byte first.

    Damaged requests are dropped without an answer. The host asks again with the same sequence
    number. A write with the number of the request before is not carried out again: it is answered
    as that one was. A host starts with a read.

    Parameters
    ----------
    divisor : int
        Cycles of a bit on the line.
    patience : int
        After so many cycles without a byte, a frame that is not complete is dropped.

    Members
    -------
    rx : In(1)
    tx : Out(1)
    bus : Out(WordBusSignature)
    """

    def __init__(self, divisor: int, *, patience: int = 1 << 16) -> None:
        self._divisor, self._patience = divisor, patience
        super().__init__(
            {"rx": In(1, init=1), "tx": Out(1, init=1), "bus": Out(WordBusSignature())}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self._divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(self._divisor)
        m.submodules.requests = requests = FrameReceiver(self._patience)
        m.submodules.answers = answers = FrameSender()
        m.submodules.words = words = memory.Memory(shape=32, depth=256, init=[])
        connect(m, answers.o, transmitter.i)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            requests.data.eq(receiver.data),
            requests.valid.eq(receiver.valid),
        ]

        bus, header = self.bus, requests.header
        index = Signal(8)
        status, last = Signal(8), Signal(8)
        reading = header.operation == READ
        read, write = words.read_port(), words.write_port()
        known = reading | (header.operation == WRITE)
        executing = Signal()
        m.d.comb += [
            bus.addr.eq(Cat(C(0, 2), header.addr[2:] + index)),
            bus.write.eq(~reading),
            bus.data.eq(read.data),
            # While a request is carried out nothing else is accepted from the line.
            write.addr.eq(Mux(executing, index, requests.word_index)),
            write.data.eq(Mux(executing, bus.read_data, requests.word_data)),
            write.en.eq(Mux(executing, bus.valid & bus.ready & reading, requests.word_en)),
            read.addr.eq(Mux(executing, index, answers.word_index)),
            answers.sequence.eq(header.sequence),
            answers.status.eq(status),
            answers.more.eq(header.more),
            answers.with_words.eq(reading),
            answers.word_data.eq(read.data),
        ]
        # WAIT for a request; FETCH a word of a write; ACCESS the bus, word by word; ANSWER.
        with m.FSM():
            with m.State("WAIT"):
                with m.If(requests.good):
                    m.d.sync += [index.eq(0), last.eq(header.sequence)]
                    again = ~reading & (last == header.sequence)
                    with m.If(~known):
                        m.d.sync += status.eq(2)
                        m.next = "START"
                    with m.Elif(again):
                        m.next = "START"
                    with m.Else():
                        m.d.sync += status.eq(0)
                        m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += executing.eq(1)
                m.next = "ACCESS"
            with m.State("ACCESS"):
                m.d.comb += [executing.eq(1), bus.valid.eq(1)]
                with m.If(bus.ready):
                    m.d.sync += index.eq(index + 1)
                    with m.If(bus.error):
                        m.d.sync += status.eq(1)
                    with m.If(index == header.more):
                        m.next = "START"
                    with m.Else():
                        m.next = "FETCH"
            with m.State("START"):
                m.d.comb += answers.start.eq(1)
                m.next = "ANSWER"
            with m.State("ANSWER"):
                with m.If(answers.done):
                    m.next = "WAIT"
        return m
