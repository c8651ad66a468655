#include "parallel/exchange.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

namespace lorica::parallel {

std::vector<std::string> all_gather_text(ProcessGroup& group, const std::string& text) {
  const auto length = at::full({1}, static_cast<std::int64_t>(text.size()), at::kLong);
  const auto lengths = at::empty({group.size()}, at::kLong);
  group.all_gather(lengths, length).wait();
  const auto longest = std::max<std::int64_t>(1, lengths.max().item<std::int64_t>());
  const auto mine = at::zeros({longest}, at::kByte);
  std::memcpy(mine.mutable_data_ptr(), text.data(), text.size());
  const auto all = at::empty({longest * group.size()}, at::kByte);
  group.all_gather(all, mine).wait();
  std::vector<std::string> texts;
  for (int r = 0; r < group.size(); ++r) {
    const auto* begin = static_cast<const char*>(all.const_data_ptr()) + r * longest;
    texts.emplace_back(begin, static_cast<std::size_t>(lengths.const_data_ptr<std::int64_t>()[r]));
  }
  return texts;
}

}  // namespace lorica::parallel
