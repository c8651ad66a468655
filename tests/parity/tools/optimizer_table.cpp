// optimizer_table < request.json: parameters after a run of an optimizer on given gradients, as JSON, for
// tests/parity/test_optim.py. {"type": "adamw", "dtype": "float32", "rates": [per update], "max_norm": 0 or more,
//  "values": {name: [...]}, "gradients": [{name: [...]} per update], "beta1": …, "epsilon": …, …}
// The reply: {"values": {name: [...]}, "norms": [per update]}.
#include <ATen/ATen.h>

#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "optim/clip.hpp"
#include "optim/optimizer.hpp"
#include "words.hpp"

namespace {

using lorica::optim::TrainableParameter;
using nlohmann::json;

at::ScalarType dtype_of(const std::string& name) {
  if (name == "float32") return at::kFloat;
  if (name == "float64") return at::kDouble;
  if (name == "bfloat16") return at::kBFloat16;
  throw std::runtime_error("dtype " + name);
}

at::Tensor tensor_of(const json& list, at::ScalarType dtype) {
  return at::tensor(list.get<std::vector<double>>(), at::kDouble).to(dtype);
}

lorica::optim::OptimizerOptions options_of(const json& request) {
  using lorica::optim::OptimizerOptions;
  auto options =
      OptimizerOptions::defaults(value_of<lorica::config::OptimizerKind>(request.at("type").get<std::string>()));
  options.beta1 = request.value("beta1", options.beta1);
  options.beta2 = request.value("beta2", options.beta2);
  options.epsilon = request.value("epsilon", options.epsilon);
  options.weight_decay = request.value("weight_decay", options.weight_decay);
  options.momentum = request.value("momentum", options.momentum);
  options.rho = request.value("rho", options.rho);
  return options;
}

json run(const json& request) {
  const auto dtype = dtype_of(request.at("dtype"));
  std::vector<TrainableParameter> parameters;
  for (const auto& [name, list] : request.at("values").items())
    parameters.push_back({name, tensor_of(list, dtype), {}});
  lorica::optim::Optimizer optimizer(options_of(request));
  json reply{{"norms", json::array()}, {"values", json::object()}};
  for (std::size_t update = 0; update < request.at("rates").size(); ++update) {
    const auto& gradients = request.at("gradients").at(update);
    for (auto& parameter : parameters) parameter.gradient = tensor_of(gradients.at(parameter.name), dtype);
    const double norm = std::sqrt(lorica::optim::squared_gradient_norm(parameters));
    const double max_norm = request.value("max_norm", 0.0);
    if (max_norm > 0) lorica::optim::scale_gradients(parameters, norm, max_norm);
    reply["norms"].push_back(norm);
    optimizer.step(parameters, request.at("rates").at(update));
  }
  for (const auto& parameter : parameters) {
    const auto values = parameter.value.to(at::kDouble).contiguous();
    reply["values"][parameter.name] =
        std::vector<double>(values.data_ptr<double>(), values.data_ptr<double>() + values.numel());
  }
  return reply;
}

}  // namespace

int main() {
  try {
    std::cout << run(json::parse(std::cin)).dump() << '\n';
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
