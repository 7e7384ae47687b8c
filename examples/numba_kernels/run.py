"""Work of a real size with numba and numpy: two files of kernels, one of them with several threads."""

import sys
from time import perf_counter
from timeit import Timer

start = perf_counter()
import autoaccel
import heat

print(f"imported in {(perf_counter() - start) * 1e3:.2f} ms")

start = perf_counter()
before = heat.plate(300)
after = heat.spread(before, 200)
row, column, most = heat.hottest(after)
counts = heat.histogram(after, 4, most)
print(f"({row}, {column}), heat, cells = {most:.6f}, {heat.total(after):.3f}, {counts.tolist()}")
print(f"first results after {(perf_counter() - start) * 1e3:.1f} ms")
print(f"with numba in the process: {'yes' if 'numba' in sys.modules else 'no'}")

count, seconds = Timer("heat.spread(before, 10)", globals=globals()).autorange()
print(f"{seconds / count * 1e9:.0f} ns per call")
