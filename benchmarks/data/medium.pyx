# cython: language_level=3
"""A module of ordinary size: numeric loops on memoryviews, classes, text and dictionaries, as real projects mix them.

KERNELS at the end names what the benchmark calls; each returns something that can be compared.
"""

import cython
from array import array

from libc.math cimport cos, exp, fabs, sin, sqrt

cdef double TINY = 1e-12
cdef enum:
    WIDTH = 64
    HEIGHT = 64


# numbers


@cython.boundscheck(False)
@cython.wraparound(False)
cdef double dot(double[::1] left, double[::1] right) noexcept nogil:
    cdef Py_ssize_t i
    cdef double total = 0
    for i in range(left.shape[0]):
        total += left[i] * right[i]
    return total


@cython.boundscheck(False)
@cython.wraparound(False)
cdef void axpy(double factor, double[::1] source, double[::1] target) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(source.shape[0]):
        target[i] += factor * source[i]


def ramp(int n, double scale=1.0):
    """An array of doubles that go up and down."""
    cdef int i
    values = array("d", bytes(8 * n))
    cdef double[::1] view = values
    for i in range(n):
        view[i] = scale * ((i * 7) % 31 - 15)
    return values


def vectors(int n=20000, int rounds=200):
    """Repeated scaling and adding, the inner loops of linear algebra."""
    cdef double[::1] left = ramp(n)
    cdef double[::1] right = ramp(n, 0.5)
    cdef double total = 0
    cdef int turn
    for turn in range(rounds):
        axpy(0.001 * turn, left, right)
        total += dot(left, right)
    return total


@cython.boundscheck(False)
@cython.wraparound(False)
@cython.cdivision(True)
def relax(int rounds=1000):
    """Jacobi steps on a grid."""
    cells = array("d", bytes(8 * WIDTH * HEIGHT))
    other = array("d", bytes(8 * WIDTH * HEIGHT))
    cdef double[::1] now = cells
    cdef double[::1] then = other
    cdef double[::1] swap
    cdef int turn, x, y, here
    for x in range(WIDTH):
        now[x] = then[x] = 100.0
    for turn in range(rounds):
        for y in range(1, HEIGHT - 1):
            for x in range(1, WIDTH - 1):
                here = y * WIDTH + x
                then[here] = 0.25 * (now[here - 1] + now[here + 1] + now[here - WIDTH] + now[here + WIDTH])
        swap = now
        now = then
        then = swap
    cdef double total = 0
    for here in range(WIDTH * HEIGHT):
        total += now[here]
    return total


def multiply(int n=180):
    """Matrix product with checked indices, as most people write it."""
    cdef double[::1] left = ramp(n * n)
    cdef double[::1] right = ramp(n * n, 0.25)
    cdef double[::1] product = array("d", bytes(8 * n * n))
    cdef int i, j, k
    cdef double total
    for i in range(n):
        for j in range(n):
            total = 0
            for k in range(n):
                total += left[i * n + k] * right[k * n + j]
            product[i * n + j] = total
    return sum(product)


@cython.cdivision(True)
def escape(int width=240, int height=180, int limit=120):
    """Iterations of a quadratic map over a part of the plane."""
    cdef int x, y, count
    cdef double real, imaginary, a, b, square
    cdef long total = 0
    for y in range(height):
        imaginary = 2.4 * y / height - 1.2
        for x in range(width):
            real = 3.2 * x / width - 2.2
            a = b = 0
            count = 0
            while count < limit and a * a + b * b < 4:
                square = a * a - b * b + real
                b = 2 * a * b + imaginary
                a = square
                count += 1
            total += count
    return total


def primes(int n=1000000):
    """The sieve; how many primes there are below n."""
    cdef bytearray marks = bytearray(n)
    cdef unsigned char[::1] struck = marks
    cdef int i, j, count = 0
    for i in range(2, n):
        if struck[i]:
            continue
        count += 1
        j = i + i
        while j < n:
            struck[j] = 1
            j += i
    return count


cdef inline double curve(double x) noexcept nogil:
    return exp(-x * x) * cos(3 * x) + 0.1 * sin(20 * x)


@cython.cdivision(True)
def integral(int steps=200000):
    """Simpson's rule on a function of libm."""
    cdef int i
    cdef double left = -2, right = 2, width = (right - left) / steps
    cdef double total = curve(left) + curve(right)
    for i in range(1, steps):
        total += curve(left + i * width) * (4 if i % 2 else 2)
    return total * width / 3


def collatz(long n=20000):
    """The longest chain below n."""
    cdef long start, value, best = 0, length, longest = 0
    for start in range(1, n):
        value = start
        length = 0
        while value != 1:
            value = value // 2 if value % 2 == 0 else 3 * value + 1
            length += 1
        if length > longest:
            longest = length
            best = start
    return best, longest


# texts


def distance(str left="the quick brown fox jumps over" * 24, str right="a lazy dog sleeps under the oak" * 24):
    """Edit distance of two texts."""
    cdef Py_ssize_t rows = len(left), columns = len(right), i, j
    cdef int[::1] above = array("i", range(columns + 1))
    cdef int[::1] here = array("i", bytes(4 * (columns + 1)))
    cdef int[::1] swap
    cdef int best
    for i in range(1, rows + 1):
        here[0] = i
        for j in range(1, columns + 1):
            best = above[j - 1] + (left[i - 1] != right[j - 1])
            if above[j] + 1 < best:
                best = above[j] + 1
            if here[j - 1] + 1 < best:
                best = here[j - 1] + 1
            here[j] = best
        swap = above
        above = here
        here = swap
    return above[columns]


def tokens(str text):
    """Numbers, names and signs of a formula."""
    cdef list found = []
    cdef Py_ssize_t i = 0, start
    cdef Py_UCS4 sign
    while i < len(text):
        sign = text[i]
        start = i
        if sign.isspace():
            i += 1
            continue
        if sign.isdigit():
            while i < len(text) and (text[i].isdigit() or text[i] == "."):
                i += 1
            found.append(("number", float(text[start:i])))
        elif sign.isalpha():
            while i < len(text) and text[i].isalnum():
                i += 1
            found.append(("name", text[start:i]))
        elif sign in "+-*/()":
            i += 1
            found.append(("sign", text[start:i]))
        else:
            raise ValueError(f"unexpected {sign!r} at {i}")
    return found


cdef dict BINDS = {"+": 1, "-": 1, "*": 2, "/": 2}


def postfix(str text):
    """A formula in reverse Polish notation."""
    cdef list out = [], waiting = []
    for kind, value in tokens(text):
        if kind != "sign":
            out.append(value)
        elif value == "(":
            waiting.append(value)
        elif value == ")":
            while waiting[-1] != "(":
                out.append(waiting.pop())
            waiting.pop()
        else:
            while waiting and waiting[-1] != "(" and BINDS[waiting[-1]] >= BINDS[value]:
                out.append(waiting.pop())
            waiting.append(value)
    while waiting:
        out.append(waiting.pop())
    return out


def evaluate(str text, **names):
    """The value of a formula."""
    cdef list stack = []
    cdef double left, right
    for item in postfix(text):
        if isinstance(item, float):
            stack.append(item)
        elif item in names:
            stack.append(float(names[item]))
        elif item in BINDS:
            right = stack.pop()
            left = stack.pop()
            if item == "+":
                stack.append(left + right)
            elif item == "-":
                stack.append(left - right)
            elif item == "*":
                stack.append(left * right)
            else:
                if fabs(right) < TINY:
                    raise ZeroDivisionError(text)
                stack.append(left / right)
        else:
            raise NameError(item)
    return stack.pop()


def formulas(int n=700):
    """Many small formulas: objects, dictionaries, exceptions."""
    cdef double total = 0
    cdef int i
    for i in range(n):
        try:
            total += evaluate("3 * (x + 4) / (y - 2) + 7.5 * x", x=i, y=i % 5)
        except ZeroDivisionError:
            total -= 1
    return total


def words(int n=40):
    """How often each word of a text comes, most frequent first."""
    cdef dict counts = {}
    cdef str word
    text = "one fish two fish red fish blue fish " * n
    for word in text.split():
        counts[word] = counts.get(word, 0) + 1
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def many_words():
    """`words` often enough to be timed."""
    return [words(n)[0] for n in range(20, 200)]


# classes


cdef class Vector:
    """Three numbers."""

    cdef readonly double x, y, z

    def __init__(self, double x=0, double y=0, double z=0):
        self.x = x
        self.y = y
        self.z = z

    def __add__(self, Vector other):
        return Vector(self.x + other.x, self.y + other.y, self.z + other.z)

    def __sub__(self, Vector other):
        return Vector(self.x - other.x, self.y - other.y, self.z - other.z)

    def __mul__(self, double factor):
        return Vector(self.x * factor, self.y * factor, self.z * factor)

    def __eq__(self, other):
        return isinstance(other, Vector) and self.x == other.x and self.y == other.y and self.z == other.z

    def __repr__(self):
        return f"Vector({self.x}, {self.y}, {self.z})"

    cpdef double length(self):
        """Euclid's."""
        return sqrt(self.x * self.x + self.y * self.y + self.z * self.z)


cdef class Body:
    """A mass that moves."""

    cdef public Vector place, speed
    cdef public double mass

    def __init__(self, place, speed, double mass):
        self.place = place
        self.speed = speed
        self.mass = mass

    cpdef void drift(self, double seconds):
        """One step along a line."""
        self.place = self.place + self.speed * seconds

    @property
    def energy(self):
        """Kinetic."""
        return 0.5 * self.mass * self.speed.length() ** 2


def planets(int steps=1000):
    """A little solar system, in objects."""
    cdef list bodies = [Body(Vector(i, i * 0.5, 1), Vector(0, 0.1 * i, 0.2), 1.0 / (i + 1)) for i in range(6)]
    cdef Body one, other
    cdef Vector way
    cdef double apart, pull
    for _ in range(steps):
        for one in bodies:
            for other in bodies:
                if one is other:
                    continue
                way = other.place - one.place
                apart = way.length() + 0.1
                pull = 0.001 * other.mass / (apart * apart * apart)
                one.speed = one.speed + way * pull
        for one in bodies:
            one.drift(0.01)
    return sum(one.energy for one in bodies)


cdef class Shape:
    """Something with an area."""

    cpdef double area(self):
        """None of it."""
        return 0


cdef class Disc(Shape):
    """A round one."""

    cdef double radius

    def __cinit__(self, double radius):
        self.radius = radius

    cpdef double area(self):
        """In square units."""
        return 3.141592653589793 * self.radius * self.radius


cdef class Box(Shape):
    """A square-cornered one."""

    cdef double width, height

    def __cinit__(self, double width, double height):
        self.width = width
        self.height = height

    cpdef double area(self):
        """In square units."""
        return self.width * self.height


def areas(int n=30000):
    """Virtual calls."""
    cdef Shape shape
    cdef double total = 0
    cdef list shapes = [Disc(i % 7) if i % 2 else Box(i % 5, i % 3) for i in range(n)]
    for shape in shapes:
        total += shape.area()
    return total


cdef class Recent:
    """A mapping that forgets what has not been asked for."""

    cdef dict kept
    cdef readonly int size, hits, misses

    def __cinit__(self, int size):
        self.kept = {}
        self.size = size

    def get(self, key, make):
        """The value of a key, made if it is not there."""
        if key in self.kept:
            self.hits += 1
            value = self.kept.pop(key)
        else:
            self.misses += 1
            value = make(key)
            if len(self.kept) >= self.size:
                del self.kept[next(iter(self.kept))]
        self.kept[key] = value
        return value

    def __len__(self):
        return len(self.kept)


def remembered(int n=30000):
    """A cache at work: closures and dictionaries."""
    cdef Recent recent = Recent(100)
    cdef long total = 0
    offset = 3

    def make(key):
        return key * 2 + offset

    for i in range(n):
        total += recent.get((i * i) % 151, make)
    return total, recent.hits, recent.misses, len(recent)


def walk(tree):
    """The leaves of nested lists."""
    for item in tree:
        if isinstance(item, list):
            yield from walk(item)
        else:
            yield item


def leaves(int n=200):
    """Generators."""
    tree = [[i, [i + 1, [i + 2, [i + 3]]]] for i in range(n)]
    return sum(sum(walk(tree)) for _ in range(10))


KERNELS = {
    function.__name__: function
    for function in (
        vectors, relax, multiply, escape, primes, integral, collatz, distance, formulas, many_words, planets, areas,
        remembered, leaves,
    )
}
