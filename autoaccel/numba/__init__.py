"""numba's modules on a warm import: their compiled functions, without numba.

Warm room: this file is what the import of a published module costs; everything else here is entered when numba itself
is, or when something unusual is asked for.
"""
