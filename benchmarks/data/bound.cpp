// cppimport
#include <pybind11/pybind11.h>

static int answer() { return 42; }

PYBIND11_MODULE(bound, module) { module.def("answer", &answer); }
/*
<%
setup_pybind11(cfg)
%>
*/
