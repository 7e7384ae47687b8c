"""The outer planets on their way around the sun: a simulation in small steps. planets.rs is the same, step by step."""

from math import pi, sqrt

YEAR = 365.24
SUN = 4 * pi * pi

#: Places in astronomical units, speeds in those per day, masses in suns.
PLANETS = [
    (
        (4.84143144246472, -1.1603200440274284, -0.10362204447112311),
        (0.001660076642744037, 0.007699011184197404, -6.90460016972063e-5),
        0.0009547919384243266,
    ),
    (
        (8.34336671824458, 4.124798564124305, -0.403523417114321),
        (-0.002767425107268624, 0.004998528012349172, 2.304172975737639e-5),
        0.0002858859806661308,
    ),
    (
        (12.894369562139131, -15.111151401698631, -0.2233075788926557),
        (0.002964601375647616, 0.0023784717395948095, -2.9658956854023756e-5),
        4.366244043351563e-5,
    ),
    (
        (15.379697114850917, -25.919314609987964, 0.17925877295037118),
        (0.0026806777249038932, 0.001628241700382423, -9.515922545197159e-5),
        5.151389020466115e-5,
    ),
]


def energy(steps: int) -> float:
    """The energy of the system after so many steps of a hundredth of a year."""
    places, speeds, masses = system()
    for _ in range(steps):
        advance(places, speeds, masses, 0.01)
    return total(places, speeds, masses)


def system():
    places = [[0.0, 0.0, 0.0], *(list(place) for place, _, _ in PLANETS)]
    speeds = [[0.0, 0.0, 0.0], *([part * YEAR for part in speed] for _, speed, _ in PLANETS)]
    masses = [SUN, *(mass * SUN for _, _, mass in PLANETS)]
    # The sun moves so that the whole stands still.
    for axis in range(3):
        pull = 0.0
        for speed, mass in zip(speeds[1:], masses[1:], strict=True):
            pull += speed[axis] * mass
        speeds[0][axis] = -pull / SUN
    return places, speeds, masses


def advance(places, speeds, masses, time):
    count = len(masses)
    for i in range(count):
        for j in range(i + 1, count):
            way, square = between(places[i], places[j])
            force = time / (square * sqrt(square))
            for axis in range(3):
                speeds[i][axis] -= way[axis] * masses[j] * force
                speeds[j][axis] += way[axis] * masses[i] * force
    for place, speed in zip(places, speeds, strict=True):
        for axis in range(3):
            place[axis] += time * speed[axis]


def between(a, b):
    x, y, z = a[0] - b[0], a[1] - b[1], a[2] - b[2]
    return (x, y, z), x * x + y * y + z * z


def total(places, speeds, masses):
    result = 0.0
    for i, (speed, mass) in enumerate(zip(speeds, masses, strict=True)):
        x, y, z = speed
        result += 0.5 * mass * (x * x + y * y + z * z)
        for j in range(i + 1, len(masses)):
            result -= mass * masses[j] / sqrt(between(places[i], places[j])[1])
    return result
