// Python bindings of the blending ops. Images are C-contiguous [h, w, 3]; `generated`
// and the maps over it cover the box of the photo whose first pixel is (left, top). A region is
// (x0, y0, x1, y1) in that box.
#include <pybind11/pybind11.h>

#include <algorithm>
#include <list>

#include "array.h"
#include "colour_match.h"
#include "multiband.h"
#include "poisson.h"

namespace py = pybind11;

namespace {

using vera::Array;

struct Rect {
  std::int64_t x0, y0, x1, y1;
  std::int64_t width() const { return x1 - x0; }
  std::int64_t height() const { return y1 - y0; }
};

Rect read_rect(const py::tuple& values) {
  return {values[0].cast<std::int64_t>(), values[1].cast<std::int64_t>(),
          values[2].cast<std::int64_t>(), values[3].cast<std::int64_t>()};
}

// The arrays of one call, all on one device, and where the region lies in them.
class Region {
 public:
  Region(const py::object& photo, const py::object& generated, const py::tuple& corner,
         const Rect& rect)
      : rect_(rect), left_(corner[0].cast<std::int64_t>()), top_(corner[1].cast<std::int64_t>()) {
    const Array& p = take(photo, "photo");
    const Array& g = take(generated, "generated");
    for (const Array* array : {&p, &g}) {
      if (array->ndim() != 3 || array->size(2) != 3) array->fail("must be [h, w, 3]");
    }
    const bool in_box = rect.x0 >= 0 && rect.y0 >= 0 && rect.x1 <= g.size(1) &&
                        rect.y1 <= g.size(0) && rect.x0 < rect.x1 && rect.y0 < rect.y1;
    if (!in_box) g.fail("must hold the region with its margin");
    const bool in_photo = left_ + rect.x0 >= 0 && top_ + rect.y0 >= 0 &&
                          left_ + rect.x1 <= p.size(1) && top_ + rect.y1 <= p.size(0);
    if (!in_photo) p.fail("must hold the box");
    photo_ = &p, generated_ = &g;
  }

  // First element of the region in a map over the box; null for None.
  template <class T>
  const T* map(const py::object& object, const char* name) {
    if (object.is_none()) return nullptr;
    const Array& array = take(object, name);
    array.require_elements(generated_->size(0) * generated_->size(1));
    return array.read<T>() + rect_.y0 * generated_->size(1) + rect_.x0;
  }
  // An array of the region's own size, with `depth` elements per pixel.
  template <class T>
  const T* read(const py::object& object, const char* name) {
    const Array& array = take(object, name);
    array.require_elements(rect_.width() * rect_.height());
    return array.read<T>();
  }
  template <class T>
  T* write(const py::object& object, const char* name, std::int64_t elements) {
    if (object.is_none()) return nullptr;
    const Array& array = take(object, name);
    array.require_elements(elements);
    return array.write<T>();
  }
  std::uint8_t* out(const py::object& object) {
    std::uint8_t* first = write<std::uint8_t>(object, "out", photo_->elements());
    if (first == nullptr) vera::throw_shape_error("`out` must be an array, got None.");
    return first + photo_offset();
  }

  // Fills what all kinds of images have in common.
  template <class Images>
  Images images() const {
    Images images{};
    images.photo = photo_->read<std::uint8_t>() + photo_offset();
    images.photo_stride = 3 * photo_->size(1);
    images.generated_stride = 3 * generated_->size(1);
    const std::int64_t at = rect_.y0 * images.generated_stride + 3 * rect_.x0;
    images.generated_is_float = generated_->holds<float>();
    images.generated = images.generated_is_float
                           ? static_cast<const void*>(generated_->read<float>() + at)
                           : static_cast<const void*>(generated_->read<std::uint8_t>() + at);
    return images;
  }

  // The device of the arrays, or -1 for the host.
  int device() const { return photo_->is_cuda() ? photo_->device_id() : -1; }
  void require_host() const {
    if (device() >= 0) photo_->fail("must be on the host; only Poisson blending runs on a device");
  }
  std::int64_t row_stride() const { return generated_->size(1); }
  const Rect& rect() const { return rect_; }

 private:
  const Array& take(const py::object& object, const char* name) {
    const Array& array = arrays_.emplace_back(object, name);
    array.require_same_device(arrays_.front());
    return array;
  }
  std::int64_t photo_offset() const {
    return 3 * ((rect_.y0 + top_) * photo_->size(1) + rect_.x0 + left_);
  }

  std::list<Array> arrays_;
  Rect rect_;
  std::int64_t left_, top_;
  const Array* photo_ = nullptr;
  const Array* generated_ = nullptr;
};

py::tuple mask_bounds(const py::object& mask) {
  const Array array(mask, "mask");
  if (array.ndim() != 2 || array.is_cuda()) array.fail("must be [h, w] on the host");
  std::int64_t r[4];
  vera::mask_bounds(array.read<std::uint8_t>(), array.size(1), array.size(0), r);
  return py::make_tuple(r[0], r[1], r[2], r[3]);
}

py::tuple poisson_blend(const py::object& photo, const py::object& generated,
                        const py::object& mask, const py::object& valid,
                        const py::object& screening_map, const py::object& out,
                        const py::object& correction, const py::object& workspace,
                        const py::tuple& corner, const py::tuple& rect, const py::tuple& borders,
                        float screening, float tolerance, int max_cycles, std::uintptr_t stream) {
  Region region(photo, generated, corner, read_rect(rect));
  const std::int64_t width = region.rect().width(), height = region.rect().height();
  auto images = region.images<vera::PoissonImages>();
  images.mask = region.map<std::uint8_t>(mask, "mask");
  if (images.mask == nullptr) vera::throw_shape_error("`mask` must be an array, got None.");
  images.mask_stride = region.row_stride();
  images.valid = region.map<std::uint8_t>(valid, "valid");
  images.screening = region.map<float>(screening_map, "screening");
  images.out = region.out(out);
  float* corrections = region.write<float>(correction, "correction", 3 * width * height);
  auto* space = region.write<std::uint8_t>(workspace, "workspace",
                                           vera::poisson_workspace_bytes(width, height));
  if (space == nullptr) vera::throw_shape_error("`workspace` must be an array, got None.");
  const vera::PoissonBorders sides{borders[0].cast<bool>(), borders[1].cast<bool>(),
                                   borders[2].cast<bool>(), borders[3].cast<bool>()};
  if (region.device() >= 0) {
    if (corrections != nullptr)
      vera::throw_shape_error("`correction` is written on the host only.");
#ifdef VERA_HAS_CUDA
    vera::poisson_blend_cuda(images, width, height, sides, screening, space, region.device(),
                             stream);
    return py::make_tuple(vera::kPoissonCudaCycles, 0.0f);
#else
    vera::throw_shape_error(
        "`photo` is on a CUDA device, but this build has no CUDA kernels; install one that has.");
#endif
  }
  (void)stream;
  vera::PoissonResult result;
  {
    const py::gil_scoped_release release;
    result = vera::poisson_blend_cpu(images, width, height, sides,
                                     {screening, tolerance, max_cycles}, corrections, space);
  }
  return py::make_tuple(result.cycles, result.error);
}

void multiband_blend(const py::object& photo, const py::object& generated,
                     const py::object& distance, const py::object& out, const py::object& workspace,
                     const py::tuple& corner, const py::tuple& rect, int bands, float band) {
  Region region(photo, generated, corner, read_rect(rect));
  const std::int64_t width = region.rect().width(), height = region.rect().height();
  if (bands < 1 || bands > vera::kMultibandMaxBands) {
    vera::throw_shape_error("`bands` must be 1 to 10, got " + std::to_string(bands) + ".");
  }
  region.require_host();
  auto images = region.images<vera::MultibandImages>();
  images.distance = region.read<float>(distance, "distance");
  images.out = region.out(out);
  auto* space = region.write<std::uint8_t>(workspace, "workspace",
                                           vera::multiband_workspace_bytes(width, height, bands));
  if (space == nullptr) vera::throw_shape_error("`workspace` must be an array, got None.");
  const py::gil_scoped_release release;
  vera::multiband_blend_cpu(images, width, height, bands, band, space);
}

py::tuple colour_sums(const py::object& photo, const py::object& generated, const py::object& ring,
                      const py::object& workspace, const py::tuple& corner, const py::tuple& rect) {
  Region region(photo, generated, corner, read_rect(rect));
  const std::int64_t width = region.rect().width(), height = region.rect().height();
  region.require_host();
  auto images = region.images<vera::ColourImages>();
  images.ring = region.read<std::uint8_t>(ring, "ring");
  auto* rows = region.write<double>(workspace, "workspace", height * vera::kColourSums);
  if (rows == nullptr) vera::throw_shape_error("`workspace` must be an array, got None.");
  double sums[vera::kColourSums];
  {
    const py::gil_scoped_release release;
    vera::colour_sums_cpu(images, width, height, rows, sums);
  }
  py::tuple result(vera::kColourSums);
  for (int i = 0; i < vera::kColourSums; ++i) result[i] = sums[i];
  return result;
}

void colour_apply(const py::object& photo, const py::object& generated, const py::object& affine,
                  const py::object& out, const py::tuple& corner, const py::tuple& rect) {
  Region region(photo, generated, corner, read_rect(rect));
  const std::int64_t width = region.rect().width(), height = region.rect().height();
  region.require_host();
  const Array matrix(affine, "affine");
  matrix.require_elements(12);
  if (matrix.is_cuda()) matrix.fail("must be on the host");
  float* result = region.write<float>(out, "out", 3 * width * height);
  if (result == nullptr) vera::throw_shape_error("`out` must be an array, got None.");
  const float* m = matrix.read<float>();
  const auto images = region.images<vera::ColourImages>();
  const py::gil_scoped_release release;
  vera::colour_apply_cpu(images, width, height, m, result);
}

}  // namespace

void bind_blend(py::module_& m) {
  m.attr("COLOUR_SUMS") = vera::kColourSums;
  m.attr("MULTIBAND_MAX_BANDS") = vera::kMultibandMaxBands;
  m.def("mask_bounds", &mask_bounds, py::arg("mask"),
        "x0, y0, x1, y1 around the nonzero pixels of a uint8 mask; all zero if there are none.");
  m.def("poisson_workspace_bytes", &vera::poisson_workspace_bytes, py::arg("width"),
        py::arg("height"), "Workspace of poisson_blend for a region of that size.");
  m.def("multiband_workspace_bytes", &vera::multiband_workspace_bytes, py::arg("width"),
        py::arg("height"), py::arg("bands"), "Workspace of multiband_blend.");
  m.def("poisson_blend", &poisson_blend, py::arg("photo"), py::arg("generated"), py::arg("mask"),
        py::arg("valid"), py::arg("screening_map"), py::arg("out"), py::arg("correction"),
        py::arg("workspace"), py::arg("corner"), py::arg("region"), py::arg("borders"),
        py::arg("screening"), py::arg("tolerance"), py::arg("max_cycles"), py::arg("stream"),
        "Screened Poisson blending into `out`; returns cycles and estimated error.");
  m.def("multiband_blend", &multiband_blend, py::arg("photo"), py::arg("generated"),
        py::arg("distance"), py::arg("out"), py::arg("workspace"), py::arg("corner"),
        py::arg("region"), py::arg("bands"), py::arg("band"), "Multi-band blending into `out`.");
  m.def("colour_sums", &colour_sums, py::arg("photo"), py::arg("generated"), py::arg("ring"),
        py::arg("workspace"), py::arg("corner"), py::arg("region"),
        "Count, sums and sums of squares of the opponent axes of both images over the ring.");
  m.def("colour_apply", &colour_apply, py::arg("photo"), py::arg("generated"), py::arg("affine"),
        py::arg("out"), py::arg("corner"), py::arg("region"), "out = affine map of `generated`.");
}
