// The objects of the registry. Internal to quant/.
#pragma once

#include "quant/format.hpp"

namespace lorica::quant {

const Format& dense_format();
const Format& nf4_format();
const Format& fp4_format();
const Format& int8_format();

}  // namespace lorica::quant
