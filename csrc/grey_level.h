// Grey levels of 8 bits.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace vera {

// Clamped, then rounded; a NaN becomes 0.
VERA_HD uint8_t grey_level(float value) {
  value = value > 0.0f ? value : 0.0f;
  value = value < 255.0f ? value : 255.0f;
  return static_cast<uint8_t>(static_cast<int>(value + 0.5f));
}

}  // namespace vera
