"""Work of a real size in a single Rust file: five bodies that attract each other, with plain Python beside it."""

from time import perf_counter
from timeit import Timer

start = perf_counter()
import autoaccel
import planets

print(f"imported in {(perf_counter() - start) * 1e3:.2f} ms")

import plain

STEPS = 2000
found = planets.energy(STEPS)
print(f"energy = {found:.12f}")

count, seconds = Timer("planets.energy(STEPS)", globals=globals()).autorange()
print(f"{seconds / count * 1e9:.0f} ns per call")

start = perf_counter()
assert plain.energy(STEPS) == found
slow = perf_counter() - start
print(f"Python: {slow * 1e9:.0f} ns per call")
