// The small helpers: strings, hash, random numbers, worker threads, machine facts, errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <set>
#include <thread>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/machine.hpp"
#include "base/parallel.hpp"
#include "base/random.hpp"
#include "base/strings.hpp"

namespace lorica {
namespace {

using ::testing::ElementsAre;

TEST(Strings, SplitJoinTrimReplace) {
  EXPECT_THAT(split("a,,b", ','), ElementsAre("a", "", "b"));
  EXPECT_THAT(split("", ','), ElementsAre(""));
  EXPECT_EQ(join({"a", "b"}, ", "), "a, b");
  EXPECT_EQ(trim(" \t a b\n"), "a b");
  EXPECT_EQ(trim("  "), "");
  EXPECT_EQ(to_lower("AbC-É"), "abc-É");
  EXPECT_EQ(replace_all("aaa", "a", "aa"), "aaaaaa") << "what was put in is not replaced again";
}

TEST(Strings, EditDistanceCountsTranspositionsAsOne) {
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("ab", "ba"), 1);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(nearest_name("lora_rnak", {"lora_rank", "lora_alpha"}), "lora_rank");
  EXPECT_EQ(nearest_name("LR", {"lr"}), "lr");
  EXPECT_EQ(nearest_name("zzzzzz", {"lora_rank"}), "");
}

TEST(Strings, QuantitiesForPeople) {
  EXPECT_EQ(format_bytes(640), "640 B");
  EXPECT_EQ(format_bytes(1536), "1.50 KiB");
  EXPECT_EQ(format_bytes(12ULL << 20), "12.0 MiB");
  EXPECT_EQ(format_seconds(12.34), "12.3s");
  EXPECT_EQ(format_seconds(185), "3m05s");
  EXPECT_EQ(format_seconds(3725), "1h02m");
  EXPECT_EQ(format_seconds(-1), "?");
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(-123456), "-123,456");
}

TEST(Hash, DependsOnTheBytesAloneHoweverTheyAreCut) {
  const std::string text = "the quick brown fox jumps over the lazy dog";
  const auto whole = ContentHash().add(text).hex();
  EXPECT_EQ(whole.size(), 32U);
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    EXPECT_EQ(ContentHash().add(text.substr(0, cut)).add(text.substr(cut)).hex(), whole) << cut;
  }
  EXPECT_NE(ContentHash().add_field("ab").add_field("c").hex(), ContentHash().add_field("a").add_field("bc").hex());
}

TEST(Hash, EveryBitAndTheLengthCount) {
  std::set<std::string> seen = {ContentHash().hex()};
  std::string text(24, '\0');
  for (std::size_t length = 1; length <= text.size(); ++length)
    seen.insert(ContentHash().add(text.substr(0, length)).hex());
  EXPECT_EQ(seen.size(), 25U) << "zeros of different lengths";
  for (std::size_t bit = 0; bit < 8 * text.size(); ++bit) {
    auto flipped = text;
    flipped[bit / 8] = static_cast<char>(1 << bit % 8);
    seen.insert(ContentHash().add(flipped).hex());
  }
  EXPECT_EQ(seen.size(), 25U + 192U);
}

TEST(Random, SplitMixEqualsThePublishedSequence) {
  // The first outputs of SplitMix64 from state 0 (its state grows by the constant that mix64 adds).
  EXPECT_EQ(mix64(0), 0xE220A8397B1DCDAFULL);
  EXPECT_EQ(mix64(0x9E3779B97F4A7C15ULL), 0x6E789E6AA1B965F4ULL);
}

TEST(Random, UniformAndNormalHaveTheirMoments) {
  constexpr int kCount = 200'000;
  const auto key = random_key({1, 2, 3});
  double sum = 0, normal_sum = 0, normal_squares = 0;
  for (std::uint64_t i = 0; i < kCount; ++i) {
    const double u = random_uniform(key, i);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
    const double n = random_normal(key, i);
    normal_sum += n;
    normal_squares += n * n;
  }
  // Five standard errors: 0.2887 / sqrt(N), 1 / sqrt(N), sqrt(2 / N).
  EXPECT_NEAR(sum / kCount, 0.5, 5 * 0.2887 / std::sqrt(kCount));
  EXPECT_NEAR(normal_sum / kCount, 0, 5 / std::sqrt(kCount));
  EXPECT_NEAR(normal_squares / kCount, 1, 5 * std::sqrt(2.0 / kCount));
}

TEST(Random, KeysDependOnTheOrderOfTheirParts) {
  EXPECT_NE(random_key({1, 2}), random_key({2, 1}));
}

TEST(Parallel, CoversTheRangeOnceAndKeepsToTheGrain) {
  for (const std::int64_t count : {0, 1, 7, 1000, 4097}) {
    std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
    parallel_for(count, 16, [&](std::int64_t begin, std::int64_t end) {
      EXPECT_TRUE(end - begin >= 16 || end == count);
      for (auto i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
    });
    for (const auto& visit : visits) ASSERT_EQ(visit, 1);
  }
}

TEST(Parallel, EachItemOnce) {
  for (const std::int64_t count : {0, 1, 2, 7, 1000}) {
    std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
    parallel_each(count, [&](std::int64_t i) { ++visits[static_cast<std::size_t>(i)]; });
    for (const auto& visit : visits) ASSERT_EQ(visit, 1);
  }
  EXPECT_THROW(parallel_each(100,
                             [](std::int64_t i) {
                               if (i == 60) throw DataError("x");
                             }),
               DataError);
}

TEST(Parallel, ExceptionsReachTheCallerAndThePoolGoesOn) {
  for (int round = 0; round < 3; ++round) {
    EXPECT_THROW(parallel_for(1000, 1,
                              [](std::int64_t begin, std::int64_t) {
                                if (begin == 0) throw DataError("x");
                              }),
                 DataError);
  }
  std::atomic<std::int64_t> sum = 0;
  parallel_for(100, 1, [&](std::int64_t begin, std::int64_t end) { sum += end - begin; });
  EXPECT_EQ(sum, 100);
}

TEST(Parallel, NestedCallsRunInPlace) {
  std::atomic<int> visits = 0;
  parallel_for(8, 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = begin; i < end; ++i)
      parallel_for(10, 1, [&](std::int64_t b, std::int64_t e) { visits += static_cast<int>(e - b); });
  });
  EXPECT_EQ(visits, 80);
}

TEST(Parallel, ManyShortJobsAndCallersAtOnce) {
  for (const bool patient : {true, false}) {
    set_patient(patient);
    std::atomic<std::int64_t> sum = 0;
    const auto post = [&] {
      for (int job = 0; job < 2000; ++job) {
        parallel_for(64, 1, [&](std::int64_t begin, std::int64_t end) { sum += end - begin; });
        if (job % 500 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));  // the workers fall asleep
      }
    };
    std::thread other(post);
    post();
    other.join();
    EXPECT_EQ(sum, 2 * 2000 * 64);
  }
}

TEST(Machine, FactsAreSane) {
  EXPECT_GE(available_cores(), 1);
  const auto memory = machine_memory();
  EXPECT_GT(memory.total, 0U);
  EXPECT_LE(memory.available, memory.total);
  EXPECT_GT(resident_bytes(), 0U);
  std::vector<char> block(64 << 20, 1);
  EXPECT_GE(peak_resident_bytes(), block.size());
  EXPECT_FALSE(cpu_name().empty());
}

TEST(Machine, TheProcessKnowsItsAge) {
  const double before = seconds_since_process_start();
  EXPECT_LT(before, 600);  // of this test program
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_NEAR(seconds_since_process_start() - before, 0.1, 0.09);
}

TEST(Errors, CarryTheExitCode) {
  EXPECT_EQ(ConfigError("x").exit_code(), 2);
  EXPECT_EQ(TrainingError("x").exit_code(), 1);
  EXPECT_THROW(ensure(false, "{} is wrong", 1), Error);
  EXPECT_NO_THROW(ensure(true, "fine"));
  try {
    raise<ModelError>("{}: {}", "file", 3);
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "file: 3");
  }
}

}  // namespace
}  // namespace lorica
