// Reads a config's rope settings, in today's spelling (rope_parameters) or the older one (rope_theta + rope_scaling).
#pragma once

#include "model/architecture_config.hpp"
#include "model/families/family.hpp"
#include "model/rope.hpp"

namespace lorica::model {

/// As transformers 5.23 standardizes them: rope_scaling wins over rope_parameters, a theta inside either wins over the
/// top-level rope_theta (default: the family's), and original_max_position_embeddings at the top level wins over the
/// one inside. `head_dim` is for checking the factor lists. Throws ModelError naming the key.
RopeConfig read_rope_config(const ConfigReader& config, const FamilyDefaults& defaults, int64_t head_dim,
                            int64_t max_positions);

}  // namespace lorica::model
