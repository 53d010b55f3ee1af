"""QNT of one number: int32 times a binary32 scale, rounded as IEEE 754 does, clamped to int8."""

from amaranth import *
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from vta.hw.compute.multipliers import has_wide_multipliers

__all__ = ["Requantiser"]

LOW_BITS = 7
"""The mantissa is multiplied in two parts, its low 7 bits and its high 17: each fits a DSP48."""

POINT = 39
"""Fraction bits of the largest product that does not saturate."""


class Shift(enum.Enum, shape=2):
    """How far the product is shifted right beyond `Alignment.fine`."""

    NONE = 0
    FOUR = 1
    EIGHT = 2
    HUGE = 3
    """The product saturates."""


class Alignment(data.Struct):
    """Where a product has its binary point: `POINT` + `fine` + `coarse` fraction bits.

    Bit i of `inside` is 1 if bit 38 + i of the product is a fraction bit below the one worth 1/2.
    """

    fine: 2
    coarse: Shift
    inside: 9


class Requantiser(wiring.Component):
    """`max(lower, min(127, rint(float32(acc) * scale) + zero_point))`, one in every cycle.

    Members
    -------
    acc : In(signed(32))
    zero_point, lower : In(signed(8))
        These belong to the same cycle.
    scale : In(32)
        In the next cycle: the bits of a binary32 number. An exponent field of 0 counts as zero, one
        of 255 as a number of at least 2^128.
    result : Out(signed(8))
        `LATENCY` cycles after `acc`. A register.

    Timing: fully pipelined, without reset or clock enable. `result` is undefined for the first
    `LATENCY` cycles.

    Attributes
    ----------
    LATENCY : int
        Registers from `acc` to `result`.

    Source: docs/isa.md, "Encoding 0.0.3".
    """

    LATENCY = 6

    acc: In(signed(32))
    zero_point: In(signed(8))
    lower: In(signed(8))
    scale: In(32)
    result: Out(signed(8))

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # Stages 1 and 2: float32(acc), and the fields of the scale.
        fraction, exponent, negative = self.scale[:23], self.scale[23:31], self.scale[31]
        normal, redundant = _normalise(m, self.acc)
        # The upper 25 bits are the float, but for a 1 that the others may round up to. To multiply
        # by a negative scale, the bits are inverted and rounded the other way: -x = ~x + 1.
        up = (normal[6] & (normal[7] | normal[:6].any())) ^ negative
        number = _register(m, "number_2", normal[7:] ^ negative.replicate(25)).as_signed()
        up = _register(m, "round_up_2", up)
        mantissa = _register(m, "mantissa_2", Cat(fraction, 1))

        # Stages 3 and 4: the product, of which the lowest bits only matter as zero or not.
        multiply = _multiply if has_wide_multipliers(platform) else _multiply_narrow
        product, inexact = multiply(m, number, mantissa, Mux(up, mantissa, 0))

        # Beside them: where its binary point is. Only 0 has two equal upper bits now.
        exponent = _register(m, "exponent_2", exponent)
        redundant = _register(m, "redundant_2", redundant)
        exponent = _register(m, "exponent_3", (redundant - exponent).as_signed())
        nonzero = _register(m, "nonzero_2", normal[31] ^ normal[30])
        nonzero = _register(m, "nonzero_3", nonzero)
        alignment = _align(m, exponent, nonzero)

        # Stage 5.
        floor, up = _round(m, product, inexact, alignment)
        floor, up = _register(m, "floor_5", floor).as_signed(), _register(m, "up_5", up)
        zero_point, lower = self.zero_point, self.lower
        for stage in range(1, 5):
            zero_point = _register(m, f"zero_point_{stage}", zero_point)
            lower = _register(m, f"lower_{stage}", lower)
        distance = _register(m, "distance_5", zero_point - lower)
        zero_point = _register(m, "zero_point_5", zero_point)
        lower = _register(m, "lower_5", lower)

        # Stage 6: the sum is compared with `lower` while it is being computed. If `up` makes them
        # equal, either is right.
        total, excess = Signal(signed(11)), Signal(signed(11))
        m.d.comb += [total.eq(floor + zero_point + up), excess.eq(floor + distance)]
        above = ~total[-1] & total[7:10].any()
        within = Cat(total[:7] | above.replicate(7), total[-1])
        m.d.sync += self.result.eq(Mux(excess[-1], lower, within.as_signed()))
        return m


def _register(m: Module, name: str, value: Value) -> Signal:
    register = Signal(value.shape(), name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register


def _same(bits: Value) -> Value:
    """Whether all bits are equal."""
    return bits.all() | ~bits.any()


def _count(same: list[Value]) -> Value:
    """How many of the three hold, up to the first that does not."""
    return Mux(~same[0], 0, Mux(~same[1], 1, Mux(~same[2], 2, 3)))


def _multiply(m: Module, number: Value, mantissa: Value, addend: Value) -> tuple[Signal, Signal]:
    """Stages 3 and 4: `number * mantissa + addend` from bit `LOW_BITS` on; any bit below is 1."""
    low = _register(m, "low_3", (number * mantissa[:LOW_BITS] + addend)[:32]).as_signed()
    high = _register(m, "high_3", number * mantissa[LOW_BITS:])
    product = _register(m, "product_4", (high + (low >> LOW_BITS))[:42])
    return product, _register(m, "inexact_4", low[:LOW_BITS].any())


def _multiply_narrow(
    m: Module, number: Value, mantissa: Value, addend: Value
) -> tuple[Signal, Signal]:
    """The same with multipliers of 18 bits, whose products go straight into registers.

    The number is multiplied in two parts as well, its low 17 bits and its high 8.
    """
    bits = 17
    addend = _register(m, "addend_3", addend)
    low, high = number[:bits], number[bits:].as_signed()
    low_low = _register(m, "low_low_3", low * mantissa[:LOW_BITS])
    low_high = _register(m, "low_high_3", low * mantissa[LOW_BITS:])
    high_low = _register(m, "high_low_3", high * mantissa[:LOW_BITS])
    high_high = _register(m, "high_high_3", high * mantissa[LOW_BITS:])
    outer = Cat(low_low, high_high).as_signed() + addend
    inner = (low_high << LOW_BITS) + (high_low << bits)
    product = _register(m, "product_4", ((outer >> LOW_BITS) + (inner >> LOW_BITS))[:42])
    return product, _register(m, "inexact_4", outer[:LOW_BITS].any())


def _normalise(m: Module, acc: Value) -> tuple[Signal, Value]:
    """Stages 1 and 2: `acc` shifted left until its two upper bits differ, and by how many bits.

    By whole bytes, then by pairs of bits, then by one bit: three levels of multiplexers.
    """
    bytes_, pairs, one = Signal(2), Signal(2), Signal()
    by_pairs, normal = Signal(32), Signal(32)
    m.d.comb += bytes_.eq(_count([_same(acc[low : low + 9]) for low in (23, 15, 7)]))
    by_bytes = _register(m, "by_bytes_1", (acc << Cat(C(0, 3), bytes_))[:32])
    bytes_ = _register(m, "bytes_1", bytes_)
    m.d.comb += [
        pairs.eq(_count([_same(by_bytes[low:]) for low in (29, 27, 25)])),
        by_pairs.eq(by_bytes << Cat(C(0, 1), pairs)),
        one.eq(_same(by_pairs[30:])),
        normal.eq(Mux(one, by_pairs << 1, by_pairs)),
    ]
    return normal, Cat(one, pairs, bytes_)


def _align(m: Module, exponent: Value, nonzero: Value) -> Signal:
    """Stage 4: the alignment of a product with 143 + `exponent` fraction bits.

    143 - `POINT` is a multiple of 8, so the lower bits of the shift are those of the exponent.
    """
    eights = exponent[3:].as_signed()
    first = (POINT - 143) // 8
    # From 49 fraction bits on, the product is below 1/2: 0, whose bits are all like the sign's.
    small = (eights > first + 1) | ((eights == first + 1) & exponent[2])
    alignment = Signal(Alignment, name="alignment_4", reset_less=True)
    # Eight or more fraction bits beyond `POINT`; it does not matter for small and huge products.
    far = ~exponent[3]
    m.d.sync += [
        alignment.fine.eq(exponent[:2] | small.replicate(2)),
        alignment.inside.eq(
            Cat(*(far | (exponent[:3] > bit) for bit in range(7)), far, far & exponent[0])
        ),
    ]
    with m.If((eights < first) & nonzero):
        m.d.sync += alignment.coarse.eq(Shift.HUGE)
    with m.Elif(small | far):
        m.d.sync += alignment.coarse.eq(Shift.EIGHT)
    with m.Else():
        m.d.sync += alignment.coarse.eq(Mux(exponent[2], Shift.FOUR, Shift.NONE))
    return alignment


def _round(m: Module, product: Value, inexact: Value, alignment: Alignment) -> tuple[Value, Value]:
    """Stage 5: the product rounded down to an integer, and whether 1 is to be added to that.

    Rounding the product to 24 bits first would change the result only where it gives k + 1/2
    exactly, which goes to the even neighbour: where the product is within half a unit in the last
    place of k + 1/2. The bits between are all zero there (above k + 1/2), or all one (below).
    `product` starts at bit `LOW_BITS` of the whole product; bits are numbered as in that here.
    """
    bits = Cat(C(0, LOW_BITS), product)

    # The integer part and the bit below it.
    fine, shifted = Signal(11), Signal(11)
    m.d.comb += fine.eq(bits[POINT - 1 :].as_signed() >> alignment.fine)
    with m.Switch(alignment.coarse):
        with m.Case(Shift.NONE):
            m.d.comb += shifted.eq(fine)
        with m.Case(Shift.FOUR):
            m.d.comb += shifted.eq(fine.as_signed() >> 4)
        with m.Case(Shift.EIGHT):
            m.d.comb += shifted.eq(fine.as_signed() >> 8)
        with m.Case(Shift.HUGE):
            m.d.comb += shifted.eq(Cat((~bits[-1]).replicate(10), bits[-1]))
    half, odd = shifted[0], shifted[1]

    # Half a unit in the last place is bit 22, or bit 23 of a product of 48 bits beside its sign.
    long = bits[48] ^ bits[47]
    sure, inside = bits[24 : POINT - 1], bits[POINT - 1 : POINT + 8]
    zeros = ~sure.any() & ~(inside & alignment.inside).any()
    ones = sure.all() & (inside | ~alignment.inside).all()
    exact = ~bits[LOW_BITS:22].any() & ~inexact
    just_above = zeros & Mux(long, ~bits[23] | (~bits[22] & exact), ~bits[23] & (~bits[22] | exact))
    just_below = ones & bits[23] & (long | bits[22])
    return shifted[1:], Mux(half, ~just_above | odd, just_below & odd)
