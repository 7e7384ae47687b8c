"""Levenshtein's distance of two byte strings: the fewest insertions, deletions and substitutions from one to the other.

Wagner and Fischer's algorithm with one row of the table. levenshtein.pyx is the same algorithm, step by step.
"""


def distance(first: bytes, second: bytes) -> int:
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(second, start=1):
            cost = diagonal if letter == other else diagonal + 1
            diagonal = row[j]
            row[j] = min(cost, diagonal + 1, row[j - 1] + 1)
    return row[-1]
