// Each collective against sums and copies that the test makes itself, among real processes.
#include "parallel/process_group.hpp"

#include <ATen/ATen.h>

#include <cstring>

#include "parallel/processes.hpp"
#include "parallel/transport.hpp"

namespace lorica::parallel {
namespace {

struct Member {
  World world;
  ProcessGroup group;
  Member(const Place& place, const std::vector<int>& ranks)
      : world(config::Config{}, place), group(world, "test", ranks, at::kCPU) {}
  ~Member() {
    world.barrier();
    world.part();
  }
};

std::vector<int> ranks_below(int count) {
  std::vector<int> ranks;
  for (int rank = 0; rank < count; ++rank) ranks.push_back(rank);
  return ranks;
}

/// Numbers that differ between processes and elements, and whose sum depends on the order of additions.
at::Tensor numbers(int rank, std::int64_t count, at::ScalarType type = at::kFloat) {
  auto result = at::empty({count}, at::kDouble);
  auto* values = result.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < count; ++i) {
    values[i] = std::sin(static_cast<double>(i * 7 + 1) * (rank + 1)) * std::pow(10.0, (rank * 5 + i) % 6);
  }
  return result.to(type);
}

/// The sum over `processes` of numbers(p), in float32, in their order.
at::Tensor sum_of_numbers(int processes, std::int64_t count, at::ScalarType type) {
  auto sum = numbers(0, count, type).to(at::kFloat);
  for (int p = 1; p < processes; ++p) sum = sum + numbers(p, count, type).to(at::kFloat);
  return sum.to(type);
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.numel() == b.numel() &&
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

constexpr std::int64_t kSizes[] = {0, 1, 2, 3, 7, 1000, 100003};
constexpr at::ScalarType kTypes[] = {at::kFloat, at::kBFloat16, at::kHalf};

TEST(ProcessGroup, all_gather) {
  for (const int processes : {2, 3, 4}) {
    all_succeed(processes, [&](const Place& place) {
      Member member(place, ranks_below(processes));
      for (const auto size : kSizes) {
        for (const auto type : {at::kFloat, at::kBFloat16, at::kByte}) {
          auto out = at::empty({processes * size}, type);
          member.group.all_gather(out, numbers(place.rank, size, type)).wait();
          for (int p = 0; p < processes; ++p) {
            check(same_bits(out.narrow(0, p * size, size), numbers(p, size, type)), "another's part");
          }
        }
      }
      // In place: the input is its own part of the output.
      auto out = at::zeros({processes * 5});
      auto own = out.narrow(0, place.rank * 5, 5);
      own.copy_(numbers(place.rank, 5));
      member.group.all_gather(out, own).wait();
      for (int p = 0; p < processes; ++p) check(same_bits(out.narrow(0, p * 5, 5), numbers(p, 5)), "in place");
    });
  }
}

TEST(ProcessGroup, reductions_add_up_in_the_order_of_ranks) {
  for (const int processes : {2, 3, 4}) {
    all_succeed(processes, [&](const Place& place) {
      Member member(place, ranks_below(processes));
      for (const auto size : kSizes) {
        for (const auto type : kTypes) {
          auto all = numbers(place.rank, size, type);
          member.group.all_reduce(all).wait();
          check(same_bits(all, sum_of_numbers(processes, size, type)), "all_reduce");

          auto out = at::empty({size}, type);
          member.group.reduce_scatter(out, numbers(place.rank, size * processes, type)).wait();
          const auto sum = sum_of_numbers(processes, size * processes, type);
          check(same_bits(out, sum.narrow(0, place.rank * size, size)), "reduce_scatter");
        }
      }
    });
  }
}

TEST(ProcessGroup, reduce_scatter_from_16_bits_into_float32_keeps_the_sums_precision) {
  all_succeed(2, [](const Place& place) {
    Member member(place, {0, 1});
    auto in = at::full({4}, 1.0, at::kBFloat16);
    if (place.rank == 1) in.fill_(1.0 / 1024);
    auto out = at::empty({2}, at::kFloat);
    member.group.reduce_scatter(out, in).wait();
    check(same_bits(out, at::full({2}, 1.0 + 1.0 / 1024, at::kFloat)), "rounded too early");
  });
}

TEST(ProcessGroup, other_dtypes_are_summed_in_their_own) {
  all_succeed(3, [](const Place& place) {
    Member member(place, {0, 1, 2});
    auto whole = at::full({5}, (std::int64_t{1} << 40) + place.rank, at::kLong);
    member.group.all_reduce(whole).wait();
    check(at::equal(whole, at::full({5}, 3 * (std::int64_t{1} << 40) + 3, at::kLong)), "int64");
    auto fine = at::full({5}, 1.0 + place.rank * 1e-12, at::kDouble);
    member.group.all_reduce(fine).wait();
    check(at::equal(fine, at::full({5}, (1.0 + (1.0 + 1e-12)) + (1.0 + 2e-12), at::kDouble)), "float64");
  });
}

TEST(ProcessGroup, all_to_all_with_uneven_and_empty_slices) {
  all_succeed(3, [](const Place& place) {
    Member member(place, {0, 1, 2});
    // Rank a sends rank b (a * 3 + b) % 4 elements, each 100 a + b.
    const auto size = [](int a, int b) { return std::int64_t{(a * 3 + b) % 4}; };
    std::vector<std::int64_t> out_sizes, in_sizes;
    std::vector<at::Tensor> in, expected;
    for (int other = 0; other < 3; ++other) {
      in_sizes.push_back(size(place.rank, other));
      out_sizes.push_back(size(other, place.rank));
      in.push_back(at::full({in_sizes.back()}, 100 * place.rank + other, at::kBFloat16));
      expected.push_back(at::full({out_sizes.back()}, 100 * other + place.rank, at::kBFloat16));
    }
    auto out = at::empty({at::cat(expected).numel()}, at::kBFloat16);
    member.group.all_to_all(out, at::cat(in), out_sizes, in_sizes).wait();
    check(same_bits(out, at::cat(expected)), "all_to_all");
  });
}

TEST(ProcessGroup, broadcast) {
  all_succeed(3, [](const Place& place) {
    Member member(place, {0, 1, 2});
    for (int root = 0; root < 3; ++root) {
      auto tensor = numbers(place.rank, 1001);
      member.group.broadcast(tensor, root).wait();
      check(same_bits(tensor, numbers(root, 1001)), "broadcast");
    }
  });
}

TEST(ProcessGroup, messages_are_matched_by_sender_and_tag_whatever_the_order) {
  all_succeed(3, [](const Place& place) {
    Member member(place, {0, 1, 2});
    std::vector<Pending> pending;
    if (place.rank > 0) {
      for (const int tag : {5, 3, 3, 9}) {
        const auto number = static_cast<int>(pending.size());
        pending.push_back(
            member.group.send(at::full({3}, static_cast<float>(place.rank * 1000 + tag * 10 + number)), 0, tag));
      }
      return;  // waits for what was sent
    }
    for (const int from : {2, 1}) {
      for (const auto& [tag, number] : {std::pair{9, 3}, {3, 1}, {5, 0}, {3, 2}}) {
        auto tensor = at::zeros({3});
        member.group.receive(tensor, from, tag).wait();
        check(at::equal(tensor, at::full({3}, static_cast<float>(from * 1000 + tag * 10 + number))),
              "message " + std::to_string(tag));
      }
    }
  });
}

// What a device's tensors go through where there is no NCCL. Tensors of the host stand in for them: they are copied
// alike.
TEST(StagedTransport, moves_what_the_host_would) {
  all_succeed(3, [](const Place& place) {
    Member member(place, {0, 1, 2});
    const auto staged = make_staged_transport(make_host_transport(member.world, "staged", place.rank, 3));
    auto gathered = at::empty({3 * 5});
    const auto version = gathered._version();
    staged->all_gather(gathered, numbers(place.rank, 5)).wait();
    check(gathered._version() == version, "autograd counts a gathered parameter as changed");
    for (int p = 0; p < 3; ++p) check(same_bits(gathered.narrow(0, p * 5, 5), numbers(p, 5)), "all_gather");
    auto sum = numbers(place.rank, 7, at::kBFloat16);
    staged->all_reduce(sum).wait();
    check(same_bits(sum, sum_of_numbers(3, 7, at::kBFloat16)), "all_reduce");
    auto part = at::empty({2});
    staged->reduce_scatter(part, numbers(place.rank, 6)).wait();
    check(same_bits(part, sum_of_numbers(3, 6, at::kFloat).narrow(0, place.rank * 2, 2)), "reduce_scatter");
    auto dealt = at::empty({3});
    staged->all_to_all(dealt, at::arange(3).to(at::kFloat) + 10 * place.rank, {1, 1, 1}, {1, 1, 1}).wait();
    check(at::equal(dealt, at::arange(3).to(at::kFloat) * 10 + place.rank), "all_to_all");
    auto told = numbers(place.rank, 9);
    staged->broadcast(told, 1).wait();
    check(same_bits(told, numbers(1, 9)), "broadcast");
    auto heard = at::empty({4});
    auto receiving = staged->receive(heard, (place.rank + 2) % 3, 7);
    staged->send(numbers(place.rank, 4), (place.rank + 1) % 3, 7).wait();
    receiving.wait();
    check(same_bits(heard, numbers((place.rank + 2) % 3, 4)), "message");
  });
}

TEST(ProcessGroup, some_of_the_processes_in_several_groups_at_once) {
  all_succeed(4, [](const Place& place) {
    World world(config::Config{}, place);
    const int row = place.rank / 2, column = place.rank % 2;
    ProcessGroup rows(world, "row" + std::to_string(row), {row * 2, row * 2 + 1}, at::kCPU);
    ProcessGroup columns(world, "column" + std::to_string(column), {column, column + 2}, at::kCPU);
    ProcessGroup alone(world, "alone" + std::to_string(place.rank), {place.rank}, at::kCPU);
    check(rows.rank() == column && columns.rank() == row && alone.rank() == 0, "rank in group");
    // Started in opposite orders by neighbours: groups don't wait for each other.
    auto a = at::full({1000}, static_cast<float>(place.rank)), b = a.clone(), c = a.clone();
    Pending first = column == 0 ? rows.all_reduce(a) : columns.all_reduce(b);
    Pending second = column == 0 ? columns.all_reduce(b) : rows.all_reduce(a);
    second.wait();
    first.wait();
    alone.all_reduce(c).wait();
    check(a[0].item<float>() == static_cast<float>(4 * row + 1), "row");
    check(b[0].item<float>() == static_cast<float>(2 * column + 2), "column");
    check(c[0].item<float>() == static_cast<float>(place.rank), "alone");
    world.barrier();
    world.part();
  });
}

TEST(ProcessGroup, many_operations_under_way_end_in_any_order_of_waiting) {
  all_succeed(2, [](const Place& place) {
    Member member(place, {0, 1});
    std::vector<at::Tensor> sums, gathered;
    std::vector<Pending> pending;
    for (int i = 0; i < 50; ++i) {
      sums.push_back(at::full({1 + i * 97}, static_cast<float>(i + place.rank)));
      gathered.push_back(at::empty({2 * (1 + i * 31)}));
      pending.push_back(member.group.all_reduce(sums.back()));
      pending.push_back(member.group.all_gather(gathered.back(), at::full({1 + i * 31}, float(place.rank * 100 + i))));
    }
    while (!pending.empty()) pending.pop_back();  // from the last one
    for (int i = 0; i < 50; ++i) {
      check(at::equal(sums[i], at::full_like(sums[i], 2 * i + 1)), "sum");
      const auto half = gathered[i].numel() / 2;
      check(at::equal(gathered[i].narrow(0, 0, half), at::full({half}, float(i))), "gathered from 0");
      check(at::equal(gathered[i].narrow(0, half, half), at::full({half}, float(100 + i))), "gathered from 1");
    }
  });
}

TEST(ProcessGroup, counts_what_it_sends) {
  all_succeed(4, [](const Place& place) {
    Member member(place, {0, 1, 2, 3});
    auto& group = member.group;
    auto big = at::zeros({4 * 10}), small = at::zeros({10});
    group.all_gather(big, small).wait();
    check(group.traffic().gathered == 3 * 40, "all_gather");
    group.reduce_scatter(small, big).wait();
    check(group.traffic().reduced == 3 * 40, "reduce_scatter");
    group.all_reduce(big).wait();
    check(group.traffic().reduced == 3 * 40 + 2 * 3 * 40, "all_reduce: 2 (N-1)/N of 160 bytes");
    group.broadcast(small, 1).wait();
    check(group.traffic().messages == (place.rank == 1 ? 120u : 0u), "broadcast");
    check(group.traffic().total() == group.traffic().gathered + group.traffic().reduced + group.traffic().messages,
          "sum");
  });
}

TEST(ProcessGroup, a_group_of_one_needs_nobody) {
  const World world(config::Config{}, Place{});
  ProcessGroup group(const_cast<World&>(world), "one", {0}, at::kCPU);
  auto in = numbers(0, 5), out = at::zeros({5});
  group.all_gather(out, in).wait();
  EXPECT_TRUE(same_bits(in, out));
  out.zero_();
  group.reduce_scatter(out, in).wait();
  EXPECT_TRUE(same_bits(in, out));
  group.all_reduce(out).wait();
  group.broadcast(out, 0).wait();
  EXPECT_TRUE(same_bits(in, out));
  EXPECT_EQ(group.traffic().total(), 0u);
}

}  // namespace
}  // namespace lorica::parallel
