// schedule_table < request.json: the learning-rate factor of every update, as JSON, for tests/parity/test_optim.py.
// {"type": "cosine", "warmup": 10, "total": 100, "peak_rate": …, "cosine_min_ratio": …, "cosine_cycles": …,
//  "polynomial_end_rate": …, "polynomial_power": …, "exponential_gamma": …}
#include <nlohmann/json.hpp>

#include <iostream>

#include "optim/schedule.hpp"
#include "words.hpp"

int main() {
  try {
    const auto request = nlohmann::json::parse(std::cin);
    lorica::optim::ScheduleOptions options;
    options.type = value_of<lorica::config::Scheduler>(request.at("type").get<std::string>());
    options.warmup_steps = request.at("warmup");
    options.peak_rate = request.value("peak_rate", options.peak_rate);
    options.cosine_min_ratio = request.value("cosine_min_ratio", options.cosine_min_ratio);
    options.cosine_cycles = request.value("cosine_cycles", options.cosine_cycles);
    options.polynomial_end_rate = request.value("polynomial_end_rate", options.polynomial_end_rate);
    options.polynomial_power = request.value("polynomial_power", options.polynomial_power);
    options.exponential_gamma = request.value("exponential_gamma", options.exponential_gamma);
    lorica::optim::check_schedule(options);
    const int64_t total = request.at("total");
    auto factors = nlohmann::json::array();
    for (int64_t step = 0; step <= total; ++step) {
      factors.push_back(lorica::optim::learning_rate_factor(options, step, total));
    }
    std::cout << factors.dump() << '\n';
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
