// The CPU level that the operators run at, and their threads' share of the work.
#pragma once

#include "levels.h"

namespace ddpmx::binding {

// The fastest level that runs here, or the one that torch.ops.ddpmx.set_cpu_level chose.
const Level& chosen();

}  // namespace ddpmx::binding
