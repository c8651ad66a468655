// Dropout by counters: the CPU's loop equals the composed mask, the share is right, and the mask is a function of its
// keys alone.
#include "model/ops/dropout.hpp"

#include "base/error.hpp"
#include "model/gradient_check.hpp"

namespace lorica::model {
namespace {

using test::normal;

std::shared_ptr<DropoutRows> rows_of(std::vector<std::int64_t> examples, std::vector<std::int64_t> positions) {
  auto rows = std::make_shared<DropoutRows>();
  rows->seed = 7;
  rows->step = 3;
  rows->examples = std::move(examples);
  rows->positions = std::move(positions);
  return rows;
}

/// `count` rows of one example.
std::shared_ptr<DropoutRows> line(std::int64_t count, std::int64_t example = 11) {
  std::vector<std::int64_t> positions;
  for (std::int64_t i = 0; i < count; ++i) positions.push_back(i);
  return rows_of(std::vector<std::int64_t>(static_cast<std::size_t>(count), example), positions);
}

at::Tensor mask_of(const DropoutRows& rows, std::uint64_t module = 5, double probability = 0.3) {
  return dropout_mask(rows, module, probability, 64, at::kCPU);
}

TEST(Dropout, TheCpuPathEqualsTheComposedMaskBitForBit) {
  const auto rows = line(37);
  for (const double probability : {0.05, 0.1, 0.5, 0.9}) {
    const auto mask = dropout_mask(*rows, 5, probability, 77, at::kCPU);
    for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
      const auto x = normal({37, 77}, 1, dtype);
      const auto dropped = Dropout(rows, 5, probability).apply(x);
      EXPECT_EQ(dropped.scalar_type(), dtype);
      EXPECT_TRUE(dropped.equal((x * mask).to(dtype))) << c10::toString(dtype) << " " << probability;
    }
    const auto strided = normal({77, 37}, 2).t();
    EXPECT_TRUE(Dropout(rows, 5, probability).apply(strided).equal(strided * mask));
  }
}

TEST(Dropout, AddToEqualsAddingWhatApplyGives) {
  for (const auto dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
    const auto x = normal({37, 77}, 1, dtype), sum = normal({37, 77}, 2, dtype);
    for (const auto& dropout : {Dropout(line(37), 5, 0.3), Dropout()}) {
      for (const auto& term : {x, normal({77, 37}, 3, dtype).t()}) {
        const auto expected = sum + dropout.apply(term);
        for (const auto& target : {sum.clone(), sum.t().contiguous().t()}) {
          dropout.add_to(target, term);
          EXPECT_TRUE(target.equal(expected)) << c10::toString(dtype);
        }
      }
    }
  }
  const auto wide = normal({3, 8}, 1), narrow = normal({3, 8}, 2, at::kBFloat16);
  const auto expected = wide + Dropout(line(3), 5, 0.5).apply(narrow);
  Dropout(line(3), 5, 0.5).add_to(wide, narrow);
  EXPECT_TRUE(wide.equal(expected));
}

TEST(Dropout, TakesNoRows) {
  const auto none = at::empty({0, 8});
  EXPECT_EQ(Dropout(line(0), 5, 0.5).apply(none).sizes(), none.sizes());
  Dropout(line(0), 5, 0.5).add_to(none, none);
}

TEST(Dropout, KeepsTheRightShareAndScalesIt) {
  const auto rows = line(512);
  for (const double probability : {0.05, 0.1, 0.5}) {
    const auto mask = dropout_mask(*rows, 5, probability, 1024, at::kCPU);
    const double count = 512 * 1024, kept = mask.count_nonzero().item<double>();
    // Five standard deviations of a binomial.
    const double bound = 5 * std::sqrt(count * probability * (1 - probability));
    EXPECT_NEAR(kept, count * (1 - probability), bound);
    EXPECT_EQ(mask.max().item<float>(), static_cast<float>(1 / (1 - probability)));
    // Neither rows nor columns are drawn alike: each one's share, six deviations (1,536 draws).
    const double row_bound = 6 * std::sqrt(1024 * probability * (1 - probability));
    const auto by_row = mask.gt(0).sum(1).to(at::kDouble) - 1024 * (1 - probability);
    EXPECT_LT(by_row.abs().max().item<double>(), row_bound);
    const double column_bound = 6 * std::sqrt(512 * probability * (1 - probability));
    const auto by_column = mask.gt(0).sum(0).to(at::kDouble) - 512 * (1 - probability);
    EXPECT_LT(by_column.abs().max().item<double>(), column_bound);
  }
}

// Neighbouring rows and columns agree as often as independent draws do: p² + (1 − p)².
TEST(Dropout, NeighboursAreIndependent) {
  const auto kept = dropout_mask(*line(512), 5, 0.5, 1024, at::kCPU).gt(0);
  const auto agreement = [&](int dimension) {
    const auto n = kept.size(dimension) - 1;
    return kept.narrow(dimension, 0, n).eq(kept.narrow(dimension, 1, n)).to(at::kDouble).mean().item<double>();
  };
  EXPECT_NEAR(agreement(0), 0.5, 5 * 0.5 / std::sqrt(512.0 * 1024));
  EXPECT_NEAR(agreement(1), 0.5, 5 * 0.5 / std::sqrt(512.0 * 1024));
}

TEST(Dropout, EveryKeyChangesTheMask) {
  const auto base = line(16);
  const auto mask = mask_of(*base);
  EXPECT_TRUE(mask.equal(mask_of(*line(16))));
  auto other = *base;
  other.seed = 8;
  EXPECT_FALSE(mask.equal(mask_of(other)));
  other = *base;
  other.step = 4;
  EXPECT_FALSE(mask.equal(mask_of(other)));
  EXPECT_FALSE(mask.equal(mask_of(*base, 6)));
  EXPECT_FALSE(mask.equal(mask_of(*line(16, 12))));
  for (std::int64_t i = 1; i < 16; ++i) EXPECT_FALSE(mask[0].equal(mask[i])) << "position " << i;
}

// An example draws the same mask in any batch, at any place in it.
TEST(Dropout, PackedEqualsAlone) {
  const auto packed = rows_of({11, 11, 11, 12, 12, 13}, {0, 1, 2, 0, 1, 0});
  const auto x = normal({6, 64}, 1);
  const auto all = Dropout(packed, 5, 0.4).apply(x);
  EXPECT_TRUE(all.narrow(0, 0, 3).equal(Dropout(line(3, 11), 5, 0.4).apply(x.narrow(0, 0, 3))));
  EXPECT_TRUE(all.narrow(0, 3, 2).equal(Dropout(line(2, 12), 5, 0.4).apply(x.narrow(0, 3, 2))));
  EXPECT_TRUE(all.narrow(0, 5, 1).equal(Dropout(line(1, 13), 5, 0.4).apply(x.narrow(0, 5, 1))));
}

TEST(Dropout, InactiveReturnsItsInput) {
  const auto x = normal({3, 8}, 1);
  EXPECT_TRUE(Dropout().apply(x).is_same(x));
  EXPECT_TRUE(Dropout(line(3), 5, 0.0).apply(x).is_same(x));
  EXPECT_FALSE(Dropout(nullptr, 5, 0.5).active());
}

TEST(Dropout, RefusesAnotherNumberOfRows) {
  const auto x = normal({3, 8}, 1);
  EXPECT_THROW(Dropout(line(4), 5, 0.5).apply(x), Error);
  EXPECT_THROW(Dropout(line(4), 5, 0.5).add_to(x, x), Error);
}

}  // namespace
}  // namespace lorica::model
