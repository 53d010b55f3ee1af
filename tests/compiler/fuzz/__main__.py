"""Makes the program of a seed that goes wrong as small as can be, and prints it.

``python -m tests.compiler.fuzz SEED`` leaves out one choice after another, as long as the program
that is left goes wrong in the same way.
"""

from __future__ import annotations

import sys

from tests.compiler.fuzz.runner import fault
from vta.sim.memory import Memory
from vta.tools.fuzz.choices import Choices


def main(seed: int) -> str:
    with Memory() as memory:
        choices = Choices(seed)
        wrong, _ = fault(choices, memory, seed)
        if not wrong:
            return f"the program of seed {seed} is right"
        kind = wrong.split(":")[0]
        made = choices.made
        length = len(made) // 2
        while length:
            place = 0
            while place < len(made):
                for shorter in (
                    made[:place] + made[place + length :],
                    made[:place] + [0] * length + made[place + length :],
                ):
                    tried = Choices(seed, shorter)
                    found, _ = fault(tried, memory, seed)
                    if found.split(":")[0] == kind and _simpler(tried.made, made):
                        made, wrong = tried.made, found
                        break
                else:
                    place += length
            length //= 2
        return wrong


def _simpler(one: list[int], other: list[int]) -> bool:
    return (len(one), sum(one)) < (len(other), sum(other))


if __name__ == "__main__":
    sys.stdout.write(main(int(sys.argv[1])) + "\n")
