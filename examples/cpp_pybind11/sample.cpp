// pybind11 reads the function's type and writes the wrapper: argument checks, conversions, the docstring's signature.

#include <pybind11/pybind11.h>

static long long add_two(int a, int b) {
    long long acc = 0;
    for (int i = 0; i < 1000; i++)
        acc += static_cast<long long>(a) + b;
    return acc;
}

PYBIND11_MODULE(sample, m) {
    m.doc() = "The loop in C++, bound by pybind11.";
    m.def("add_two", &add_two, "1000 times a + b.", pybind11::arg("a"), pybind11::arg("b"));
}
