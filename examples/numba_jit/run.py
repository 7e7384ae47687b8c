"""numba: sample.py is a plain module with @jit; its machine code is loaded without numba from the second run on."""

import sys
from time import perf_counter
from timeit import Timer

start = perf_counter()
import autoaccel
import sample

print(f"imported in {(perf_counter() - start) * 1e3:.2f} ms")
print(f"add_two(2, 3) = {sample.add_two(2, 3)}")
print(f"with numba in the process: {'yes' if 'numba' in sys.modules else 'no'}")

count, seconds = Timer("sample.add_two(2, 3)", globals=globals()).autorange()
print(f"{seconds / count * 1e9:.0f} ns per call")
