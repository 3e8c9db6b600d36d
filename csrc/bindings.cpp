// The module `vera._C`: every op binds itself in its own bindings file.
#include <pybind11/pybind11.h>

#include "host_device.h"

void bind_inversion_loss(pybind11::module_& m);
void bind_adam_step(pybind11::module_& m);
void bind_blend(pybind11::module_& m);

namespace {

pybind11::dict build_info() {
  namespace py = pybind11;
  py::dict info;
  info["cpu"] = vera::cpu_isa();
#ifdef _OPENMP
  info["openmp"] = true;
#else
  info["openmp"] = false;
#endif
#ifdef VERA_HAS_CUDA
  info["cuda"] = true;
  info["architectures"] = py::str(VERA_CUDA_ARCHITECTURES).attr("split")();
#else
  info["cuda"] = false;
  info["architectures"] = py::list();
#endif
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Native operations of VerA on borrowed DLPack arrays; called by vera.ops only.";
  m.def("build_info", &build_info,
        "What this extension was compiled with, and the CPU path it runs.");
  bind_inversion_loss(m);
  bind_adam_step(m);
  bind_blend(m);
}
