// Python bindings of inversion_loss and adam_step.
#include <pybind11/pybind11.h>

#include <list>
#include <vector>

#include "adam_step.h"
#include "array.h"
#include "inversion_loss.h"

namespace py = pybind11;

namespace {

using vera::Array;
using vera::LossKind;
using vera::LossTerm;

// The arrays of one call: kept alive, and all on the device of the first.
class Arrays {
 public:
  const Array& take(const py::handle& object, const std::string& name) {
    arrays_.emplace_back(object, name);
    arrays_.back().require_same_device(arrays_.front());
    return arrays_.back();
  }
  template <class T>
  const T* read(const py::handle& object, const char* name, std::int64_t elements) {
    if (object.is_none()) return nullptr;
    const Array& array = take(object, name);
    array.require_elements(elements);
    return array.read<T>();
  }
  template <class T>
  T* write(const py::handle& object, const char* name, std::int64_t elements) {
    const Array& array = take(object, name);
    array.require_elements(elements);
    return array.write<T>();
  }

 private:
  std::list<Array> arrays_;
};

// Missing where the kind of the term needs it.
template <class P>
const P* required(const P* pointer, const char* name) {
  if (pointer == nullptr)
    vera::throw_shape_error(std::string("`") + name + "` must be an array, got None.");
  return pointer;
}

LossKind kind_of(const std::string& name) {
  if (name == "pixel") return LossKind::kPixel;
  if (name == "perceptual") return LossKind::kPerceptual;
  if (name == "cross_entropy") return LossKind::kCrossEntropy;
  vera::throw_shape_error("The kind of a term must be pixel, perceptual or cross_entropy, got " +
                          name + ".");
}

// A term is (name, kind, column, output, target or labels, channel_weight, pixel_weight, scale,
// temperature, grad); the name is what messages call the output.
constexpr int kName = 0, kKind = 1, kColumn = 2, kOutput = 3, kConstant = 4, kChannelWeight = 5,
              kPixelWeight = 6, kScale = 7, kTemperature = 8, kGrad = 9, kFields = 10;

template <class T>
LossTerm<T> read_term(const py::tuple& fields, std::int64_t n, Arrays& arrays) {
  if (fields.size() != kFields) vera::throw_shape_error("A term must be a tuple of 10 fields.");
  LossTerm<T> term{};
  term.kind = kind_of(fields[kKind].cast<std::string>());
  term.column = fields[kColumn].cast<int>();
  if (term.column < 0 || term.column >= vera::kLossColumns) {
    vera::throw_shape_error("The column of a term must be 0 to 3.");
  }
  const Array& x = arrays.take(fields[kOutput], fields[kName].cast<std::string>());
  if (x.ndim() != 4 || x.size(0) != n) {
    x.fail("must be [n, c, h, w] with n = " + std::to_string(n));
  }
  term.channels = x.size(1);
  term.pixels = x.size(2) * x.size(3);
  term.x = x.read<T>();
  const std::int64_t planes = n * term.pixels, elements = planes * term.channels;
  if (term.kind == LossKind::kCrossEntropy) {
    if (term.channels > 255) x.fail("must have at most 255 classes");
    term.labels =
        required(arrays.read<std::uint8_t>(fields[kConstant], "labels", planes), "labels");
  } else {
    term.target = required(arrays.read<T>(fields[kConstant], "target", elements), "target");
  }
  term.channel_weight = arrays.read<T>(fields[kChannelWeight], "channel_weight", term.channels);
  if (term.kind == LossKind::kPerceptual) required(term.channel_weight, "channel_weight");
  term.pixel_weight = arrays.read<T>(fields[kPixelWeight], "pixel_weight", planes);
  term.scale = required(arrays.read<T>(fields[kScale], "scale", n), "scale");
  term.inverse_temperature = static_cast<T>(1 / fields[kTemperature].cast<double>());
  term.grad = arrays.write<T>(fields[kGrad], "grad", elements);
  return term;
}

template <class T>
void inversion_loss_of(const py::list& list, const py::object& partials, const py::object& values,
                       int threads, std::uintptr_t stream) {
  Arrays arrays;
  const Array& first = arrays.take(values, "values");
  const std::int64_t n = first.ndim() == 2 ? first.size(0) : -1;
  if (n < 0 || first.size(1) != vera::kLossColumns) first.fail("must be [n, 4]");
  double* sums = first.write<double>();
  std::vector<LossTerm<T>> terms;
  std::int64_t tiles = 0;
  for (const py::handle& fields : list) {
    terms.push_back(read_term<T>(py::reinterpret_borrow<py::tuple>(fields), n, arrays));
    tiles += vera::tiles_of(terms.back().channels, terms.back().pixels);
  }
  double* parts = arrays.write<double>(partials, "partials", n * tiles);
  const int count = static_cast<int>(terms.size());
  if (!first.is_cuda()) {
    const py::gil_scoped_release release;
    vera::inversion_loss_cpu(terms.data(), count, n, parts, sums, threads);
    return;
  }
#ifdef VERA_HAS_CUDA
  vera::inversion_loss_cuda(terms.data(), count, n, parts, sums, first.device_id(), stream);
#else
  (void)stream;
  first.fail("is on a CUDA device, but this build has no CUDA kernels; install one that has");
#endif
}

void inversion_loss(const py::list& terms, const py::object& partials, const py::object& values,
                    int threads, std::uintptr_t stream) {
  bool wide = false;
  if (!terms.empty()) {
    const auto fields = terms[0].cast<py::tuple>();
    wide = fields.size() == kFields && Array(fields[kScale], "scale").holds<double>();
  }
  if (wide) {
    inversion_loss_of<double>(terms, partials, values, threads, stream);
  } else {
    inversion_loss_of<float>(terms, partials, values, threads, stream);
  }
}

template <class T>
void adam_step_of(const py::object& latent, const py::object& grad, const py::object& first,
                  const py::object& second, const py::object& step, const py::object& latent_mean,
                  const py::object& tie, const py::object& frozen, const py::object& links,
                  vera::AdamSettings settings, std::uintptr_t stream) {
  Arrays arrays;
  const Array& w = arrays.take(latent, "latent");
  if (w.ndim() != 3) w.fail("must be [n, k, d]");
  settings.n = w.size(0);
  settings.k = w.size(1);
  settings.d = w.size(2);
  const std::int64_t rows = settings.n * settings.k, elements = rows * settings.d;
  if (rows > INT32_MAX) w.fail("has too many rows");
  const vera::AdamArrays<T> a{w.write<T>(),
                              required(arrays.read<T>(grad, "grad", elements), "grad"),
                              arrays.write<T>(first, "m", elements),
                              arrays.write<T>(second, "v", elements),
                              required(arrays.read<std::int32_t>(step, "step", settings.n), "step"),
                              arrays.read<T>(latent_mean, "latent_mean", settings.k * settings.d),
                              arrays.read<std::int32_t>(tie, "tie", rows),
                              arrays.read<std::uint8_t>(frozen, "frozen", rows)};
  std::int32_t* chain = arrays.write<std::int32_t>(links, "links", 2 * rows);
  if (!w.is_cuda()) {
    for (std::int64_t row = 0; a.tie != nullptr && row < rows; ++row) {
      if (a.tie[row] < 0 || a.tie[row] >= rows || a.tie[a.tie[row]] != a.tie[row]) {
        vera::throw_shape_error("`tie` must name for each row a row that names itself, got " +
                                std::to_string(a.tie[row]) + " at row " + std::to_string(row) +
                                "; use the flat index of the group's first row.");
      }
    }
    vera::adam_step_cpu(a, settings, chain);
    return;
  }
#ifdef VERA_HAS_CUDA
  vera::adam_step_cuda(a, settings, w.device_id(), stream);
#else
  (void)stream;
  w.fail("is on a CUDA device, but this build has no CUDA kernels; install one that has");
#endif
}

void adam_step(const py::object& latent, const py::object& grad, const py::object& first,
               const py::object& second, const py::object& step, const py::object& latent_mean,
               const py::object& tie, const py::object& frozen, const py::object& links,
               std::int32_t steps, double learning_rate, double beta1, double beta2, double eps,
               double regulariser, std::uintptr_t stream) {
  const vera::AdamSettings settings{0, 0, 0, steps, learning_rate, beta1, beta2, eps, regulariser};
  const bool wide = Array(latent, "latent").holds<double>();
  (wide ? adam_step_of<double> : adam_step_of<float>)(latent, grad, first, second, step,
                                                      latent_mean, tie, frozen, links, settings,
                                                      stream);
}

}  // namespace

void bind_inversion_loss(py::module_& m) {
  m.def("inversion_loss", &inversion_loss, py::arg("terms"), py::arg("partials"), py::arg("values"),
        py::arg("threads"), py::arg("stream"),
        "Values [n, 4] of the terms, and their gradients; see csrc/inversion_loss.h.");
  m.def("inversion_loss_tiles", &vera::tiles_of, py::arg("channels"), py::arg("pixels"),
        "Partial values that a term leaves for each sample.");
  m.attr("NORM_EPS") = vera::kNormEps;
}

void bind_adam_step(py::module_& m) {
  m.def("adam_step", &adam_step, py::arg("latent"), py::arg("grad"), py::arg("m"), py::arg("v"),
        py::arg("step"), py::arg("latent_mean"), py::arg("tie"), py::arg("frozen"),
        py::arg("links"), py::arg("steps"), py::arg("learning_rate"), py::arg("beta1"),
        py::arg("beta2"), py::arg("eps"), py::arg("regulariser"), py::arg("stream"),
        "One step of Adam in place; see csrc/adam_step.h.");
  m.def("learning_rate_at", &vera::learning_rate_at, py::arg("step"), py::arg("steps"),
        py::arg("learning_rate"), "The ramp of adam_step.");
}
