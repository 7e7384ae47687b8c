"""The function that every other folder has in another language: 1000 times a + b, by a loop."""


def add_two(a, b):
    acc = 0
    i = 0
    while i < 1000:
        acc += a + b
        i += 1
    return acc
