"""Work of a real size: the edit distance of two gene-sized strings, in Cython, with plain Python beside it."""

from random import Random
from time import perf_counter
from timeit import Timer

start = perf_counter()
import autoaccel
import levenshtein

print(f"imported in {(perf_counter() - start) * 1e3:.2f} ms")

import plain

random = Random(1)
gene = bytes(random.choices(b"ACGT", k=2000))
mutant = bytearray(gene)
for place in random.sample(range(len(gene)), k=100):
    mutant[place : place + 1] = random.choice([b"", b"A", b"CG"])
other = bytes(mutant)

found = levenshtein.distance(gene, other)
print(f"distance = {found}")

count, seconds = Timer("levenshtein.distance(gene, other)", globals=globals()).autorange()
print(f"{seconds / count * 1e9:.0f} ns per call")

start = perf_counter()
assert plain.distance(gene, other) == found
slow = perf_counter() - start
print(f"Python: {slow * 1e9:.0f} ns per call")
