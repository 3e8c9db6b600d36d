// A borrowed view of a caller's array through DLPack, so that NumPy, CuPy and torch arrays come in
// by one door, without a copy and without linking any of them. Checks here protect memory (dtype,
// device, contiguity, size, writability); checks that explain a shape by name live in Python.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <initializer_list>
#include <string>

namespace vera {

// The structures of DLPack 1.0 that a consumer reads
// (https://dmlc.github.io/dlpack/latest/c_api.html); field order and sizes are its ABI.
namespace dlpack {
struct Device {
  std::int32_t type;
  std::int32_t id;
};
struct DataType {
  std::uint8_t code;
  std::uint8_t bits;
  std::uint16_t lanes;
};
struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null means contiguous
  std::uint64_t byte_offset;
};
struct Managed {
  Tensor tensor;
  void* manager;
  void (*deleter)(Managed*);
};
struct Version {
  std::uint32_t major;
  std::uint32_t minor;
};
struct ManagedVersioned {
  Version version;
  void* manager;
  void (*deleter)(ManagedVersioned*);
  std::uint64_t flags;
  Tensor tensor;
};
constexpr std::int32_t kCpu = 1;
constexpr std::int32_t kCuda = 2;
constexpr std::uint64_t kReadOnly = 1;
constexpr std::uint8_t kInt = 0, kUint = 1, kFloat = 2;
}  // namespace dlpack

// Raises vera.errors.ShapeError with `message`.
[[noreturn]] inline void throw_shape_error(const std::string& message) {
  namespace py = pybind11;
  py::object type = py::module_::import("vera.errors").attr("ShapeError");
  PyErr_SetString(type.ptr(), message.c_str());
  throw py::error_already_set();
}

template <class T>
struct DType;
template <>
struct DType<float> {
  static constexpr const char* name = "float32";
  static constexpr std::uint8_t code = dlpack::kFloat;
};
template <>
struct DType<double> {
  static constexpr const char* name = "float64";
  static constexpr std::uint8_t code = dlpack::kFloat;
};
template <>
struct DType<std::uint8_t> {
  static constexpr const char* name = "uint8";
  static constexpr std::uint8_t code = dlpack::kUint;
};
template <>
struct DType<std::int32_t> {
  static constexpr const char* name = "int32";
  static constexpr std::uint8_t code = dlpack::kInt;
};

// The view lives as long as this object does, which must be created and destroyed with the GIL.
class Array {
 public:
  // `name` is what messages call the array. Accepts anything with __dlpack__; C-contiguous only.
  Array(const pybind11::handle& object, std::string name) : name_(std::move(name)) {
    namespace py = pybind11;
    if (!py::hasattr(object, "__dlpack__")) {
      fail("must be an array with __dlpack__ (NumPy, CuPy or torch), got " +
           std::string(py::str(py::type::handle_of(object).attr("__name__"))));
    }
    capsule_ = acquire(object);
    const char* kind = PyCapsule_GetName(capsule_.ptr());
    if (kind != nullptr && std::string(kind) == "dltensor_versioned") {
      auto* managed = static_cast<dlpack::ManagedVersioned*>(get(kind));
      if (managed->version.major > 1) fail("uses a newer DLPack than 1.x");
      tensor_ = &managed->tensor;
      read_only_ = (managed->flags & dlpack::kReadOnly) != 0;
    } else if (kind != nullptr && std::string(kind) == "dltensor") {
      tensor_ = &static_cast<dlpack::Managed*>(get(kind))->tensor;
    } else {
      fail("gave a capsule that is not DLPack");
    }
    if (tensor_->device.type != dlpack::kCpu && tensor_->device.type != dlpack::kCuda) {
      fail("lives on an unsupported device; move it to the CPU or a CUDA device");
    }
    require_contiguous();
  }

  bool is_cuda() const { return tensor_->device.type == dlpack::kCuda; }
  int device_id() const { return tensor_->device.id; }
  int ndim() const { return tensor_->ndim; }
  std::int64_t size(int axis) const { return tensor_->shape[axis]; }
  std::int64_t elements() const {
    std::int64_t count = 1;
    for (int axis = 0; axis < ndim(); ++axis) count *= size(axis);
    return count;
  }
  const std::string& name() const { return name_; }

  template <class T>
  bool holds() const {
    const dlpack::DataType& d = tensor_->dtype;
    return d.code == DType<T>::code && d.bits == 8 * sizeof(T) && d.lanes == 1;
  }

  template <class T>
  const T* read() const {
    if (!holds<T>()) fail(std::string("must be ") + DType<T>::name + ", got " + dtype_name());
    return reinterpret_cast<const T*>(static_cast<const char*>(tensor_->data) +
                                      tensor_->byte_offset);
  }

  template <class T>
  T* write() const {
    if (read_only_) fail("is read-only, but is written to; pass a writable array");
    return const_cast<T*>(read<T>());
  }

  // The memory-protecting half of a shape check.
  void require_elements(std::int64_t count) const {
    if (elements() != count) {
      fail("must have " + std::to_string(count) + " elements, got " + std::to_string(elements()));
    }
  }

  void require_same_device(const Array& other) const {
    if (is_cuda() != other.is_cuda() || device_id() != other.device_id()) {
      fail("and `" + other.name_ + "` live on different devices; move one of them");
    }
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw_shape_error("`" + name_ + "` " + what + ".");
  }

 private:
  // stream=-1: no synchronisation, because the kernels run on the stream that the caller names.
  // max_version is unknown to producers older than DLPack 1.0, such as NumPy 1.26.
  pybind11::object acquire(const pybind11::handle& object) const {
    namespace py = pybind11;
    const auto device = object.attr("__dlpack_device__")().cast<std::pair<int, int>>();
    py::dict options;
    if (device.first == dlpack::kCuda) options["stream"] = -1;
    py::object method = object.attr("__dlpack__");
    try {
      return method(**options, py::arg("max_version") = py::make_tuple(1, 0));
    } catch (py::error_already_set& error) {
      if (!error.matches(PyExc_TypeError)) reject(error);
    }
    try {
      return method(**options);
    } catch (py::error_already_set& error) {
      reject(error);
    }
  }

  [[noreturn]] void reject(pybind11::error_already_set& error) const {
    fail("cannot be shared through DLPack: " + std::string(pybind11::str(error.value())) +
         "; pass a plain writable array");
  }

  void* get(const char* kind) const { return PyCapsule_GetPointer(capsule_.ptr(), kind); }

  void require_contiguous() const {
    if (tensor_->strides == nullptr || elements() <= 1) return;
    std::int64_t expected = 1;
    for (int axis = ndim() - 1; axis >= 0; --axis) {
      if (size(axis) != 1 && tensor_->strides[axis] != expected) {
        fail("must be C-contiguous; pass a contiguous copy");
      }
      expected *= size(axis);
    }
  }

  std::string dtype_name() const {
    const dlpack::DataType& d = tensor_->dtype;
    const char* kinds[] = {"int", "uint", "float"};
    const std::string kind = d.code < 3 ? kinds[d.code] : "type" + std::to_string(d.code) + "_";
    return kind + std::to_string(static_cast<int>(d.bits));
  }

  std::string name_;
  pybind11::object capsule_;  // kept unconsumed: its destructor returns the borrowed memory
  const dlpack::Tensor* tensor_ = nullptr;
  bool read_only_ = false;
};

}  // namespace vera
