// nanobind is pybind11's smaller successor: nearly the same words, less code in the library, less time per call.

#include <nanobind/nanobind.h>

static long long add_two(int a, int b) {
    long long acc = 0;
    for (int i = 0; i < 1000; i++)
        acc += static_cast<long long>(a) + b;
    return acc;
}

NB_MODULE(sample, m) {
    m.doc() = "The loop in C++, bound by nanobind.";
    m.def("add_two", &add_two, "1000 times a + b.", nanobind::arg("a"), nanobind::arg("b"));
}
