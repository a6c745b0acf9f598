// The CPU level in use.
#pragma once

#include "levels.h"

namespace ddpmx::binding {

// The level that torch.ops.ddpmx.set_cpu_level set, or else the fastest that runs here.
const Level& current_level();

}  // namespace ddpmx::binding
