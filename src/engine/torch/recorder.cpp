// engine/recorder.hpp and engine/scope.hpp, by LibTorch's profiler.
#include "engine/recorder.hpp"

#include <ATen/detail/CUDAHooksInterface.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/profiler_kineto.h>
#include <torch/csrc/profiler/collection.h>
#include <torch/csrc/profiler/kineto_shim.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>

#include "base/error.hpp"
#include "base/files.hpp"
#include "engine/cuda/memory.hpp"
#include "engine/scope.hpp"
#include "model/scope.hpp"

namespace lorica::engine {
namespace {

namespace kineto = torch::autograd::profiler;
namespace profiler = torch::profiler::impl;
using profiler::ActivityType;
using profiler::EventType;
using profiler::Result;

/// Kineto says on standard error when it starts and stops; who wants to hear it sets the variable.
void hush() {
  static const bool done = ::setenv("KINETO_LOG_LEVEL", "99", 0) == 0;
  static_cast<void>(done);
}

std::string shapes_text(const std::vector<profiler::op_input_t>& inputs) {
  std::vector<std::string> texts;
  const auto add = [&](const profiler::TensorMetadata& tensor) {
    texts.push_back(fmt::format("[{}]", fmt::join(tensor.sizes_, ", ")));
  };
  for (const auto& input : inputs) {
    if (const auto* tensor = std::get_if<profiler::TensorMetadata>(&input)) add(*tensor);
    if (const auto* list = std::get_if<std::vector<profiler::TensorMetadata>>(&input)) {
      for (const auto& tensor : *list) add(tensor);
    }
  }
  return fmt::format("{}", fmt::join(texts, ", "));
}

/// Flattens Kineto's trees of events. Asynchronous ones end whenever somebody else is done, so they are left out, and
/// what is inside what is found out anew, by time, for each thread.
class Flattener {
 public:
  explicit Flattener(at::DeviceType device) : device_(device) {}

  void collect(const Result& result, int outer) {
    Found found{{}, {}, result.start_tid_, outer, false, false};
    if (result.tag() == EventType::Allocation) {
      const auto& fields = std::get<profiler::ExtraFields<EventType::Allocation>>(result.extra_fields_);
      if (fields.device_type_ != device_) return;
      found.memory = {result.start_time_ns_, reinterpret_cast<std::uint64_t>(fields.ptr_), fields.alloc_size_, -1};
      found.is_memory = true;
      found.span.start_ns = found.span.end_ns = result.start_time_ns_;
    } else if (result.tag() == EventType::TorchOp) {
      const auto& fields = std::get<profiler::ExtraFields<EventType::TorchOp>>(result.extra_fields_);
      auto& span = found.span;
      span.name = result.name();
      span.shapes = shapes_text(fields.inputs_);
      span.start_ns = result.start_time_ns_;
      span.end_ns = std::max(result.start_time_ns_, result.endTimeNS());
      span.thread = result.start_tid_;
      span.scope = fields.scope_ == at::RecordScope::USER_SCOPE;
      found.is_async = fields.is_async_;
    } else {
      for (const auto& child : result.children_) collect(*child, outer);
      return;
    }
    const int self = static_cast<int>(found_.size());
    found_.push_back(std::move(found));
    for (const auto& child : result.children_) collect(*child, self);
  }

  void put_into(Recording& recording) {
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < found_.size(); ++i) {
      if (!found_[i].is_async) order.push_back(i);
    }
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      const auto &x = found_[a].span, &y = found_[b].span;
      return x.start_ns != y.start_ns ? x.start_ns < y.start_ns : x.end_ns > y.end_ns;
    });
    places_.assign(found_.size(), -1);
    for (const auto i : order) {
      auto& found = found_[i];
      const int parent = parent_of(found, recording.spans);
      if (found.is_memory) {
        found.memory.span = parent;
        recording.memory.push_back(found.memory);
        continue;
      }
      places_[i] = static_cast<int>(recording.spans.size());
      found.span.parent = parent;
      open_[found.thread].push_back(places_[i]);
      recording.spans.push_back(std::move(found.span));
    }
  }

 private:
  struct Found {
    Span span;  ///< or when `memory` happened
    MemoryEvent memory;
    std::uint64_t thread;
    int outer;  ///< around it in Kineto's tree, by index; -1: none
    bool is_memory, is_async;
  };

  /// On its own thread; on one that works for another, the span there that Kineto puts it into.
  int parent_of(const Found& found, const std::vector<Span>& spans) {
    auto& open = open_[found.thread];
    while (!open.empty() && spans[static_cast<std::size_t>(open.back())].end_ns <= found.span.start_ns) open.pop_back();
    if (!open.empty()) return open.back();
    for (int at = found.outer; at >= 0; at = found_[static_cast<std::size_t>(at)].outer) {
      const auto i = static_cast<std::size_t>(at);
      if (found_[i].thread != found.thread && places_[i] >= 0) return places_[i];
    }
    return -1;
  }

  at::DeviceType device_;
  std::vector<Found> found_;
  std::vector<int> places_;                         ///< by index of found_: that of the span; -1: not one (yet)
  std::map<std::uint64_t, std::vector<int>> open_;  ///< by thread: spans that have begun, outermost first
};

/// What ran on the device. Kineto repeats user scopes there, as the time from their first kernel to their last.
void add_device_spans(const std::vector<kineto::KinetoEvent>& events, Recording& recording) {
  std::set<std::string> scopes;
  for (const auto& span : recording.spans) {
    if (span.scope) scopes.insert(span.name);
  }
  for (const auto& event : events) {
    if (event.deviceType() == at::kCPU || scopes.contains(event.name())) continue;
    if (event.durationNs() == 0) continue;  // a mark, such as memory taken
    Span span;
    span.name = event.name();
    span.start_ns = static_cast<std::int64_t>(event.startNs());
    span.end_ns = static_cast<std::int64_t>(event.endNs());
    span.thread = static_cast<std::uint64_t>(event.deviceResourceId());
    span.on_device = true;
    recording.spans.push_back(std::move(span));
  }
}

/// Kineto tells nobody but standard error of a file that it couldn't finish: the end is looked at.
bool is_complete(const std::filesystem::path& path) {
  constexpr std::streamoff kTail = 16;
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file || file.tellg() < kTail) return false;
  std::string tail(kTail, ' ');
  file.seekg(-kTail, std::ios::end);
  file.read(tail.data(), kTail);
  const auto last = tail.find_last_not_of(" \n\r\t");
  return file && last != std::string::npos && tail[last] == '}';
}

}  // namespace

struct Recorder::Impl {
  explicit Impl(const Options& options)
      : device(options.device),
        place(fmt::format(R"({{"rank": {}, "world_size": {}}})", options.rank, options.processes)),
        keeps_history(options.device_history && device.is_cuda()),
        config(profiler::ProfilerState::KINETO, options.shapes, options.memory, /*with_stack=*/false) {
    activities.insert(ActivityType::CPU);
    if (device.is_cuda()) activities.insert(ActivityType::CUDA);
  }

  at::Device device;
  std::string place;  ///< as JSON
  bool keeps_history;
  std::string history;  ///< of the last recording
  profiler::ProfilerConfig config;
  std::set<ActivityType> activities;
  std::unique_ptr<kineto::ProfilerResult> result;
  bool prepared = false, running = false;
};

Recorder::Recorder(const Options& options) : impl_(std::make_unique<Impl>(options)) {
  hush();
}

Recorder::~Recorder() {
  try {
    // Preparations have no other end than a recording.
    if (impl_->prepared && !impl_->running) start();
    if (impl_->running) kineto::disableProfiler();
  } catch (const std::exception&) {  // the run is ending for another reason
  }
}

bool Recorder::running() const {
  return impl_->running;
}

void Recorder::prepare() {
  kineto::prepareProfiler(impl_->config, impl_->activities);
  impl_->prepared = true;
}

void Recorder::start() {
  ensure(!impl_->running, "a recorder is started twice");
  if (!impl_->prepared) prepare();
  impl_->result.reset();
  if (impl_->keeps_history) cuda::keep_memory_history(true);
  kineto::enableProfiler(impl_->config, impl_->activities);
  kineto::addMetadataJson("distributedInfo", impl_->place);
  impl_->running = true;
}

Recording Recorder::stop() {
  ensure(impl_->running, "a recorder is stopped that isn't running");
  if (impl_->device.is_cuda()) at::detail::getCUDAHooks().deviceSynchronize(impl_->device.index());
  impl_->result = kineto::disableProfiler();
  impl_->running = impl_->prepared = false;
  if (impl_->keeps_history) {
    impl_->history = cuda::memory_history();
    cuda::keep_memory_history(false);
  }
  Recording recording;
  recording.start_ns = static_cast<std::int64_t>(impl_->result->trace_start_ns());
  Flattener flattener(impl_->device.type());
  for (const auto& root : impl_->result->event_tree()) flattener.collect(*root, -1);
  flattener.put_into(recording);
  if (impl_->device.is_cuda()) add_device_spans(impl_->result->events(), recording);
  recording.end_ns = recording.start_ns;
  for (const auto& span : recording.spans) recording.end_ns = std::max(recording.end_ns, span.end_ns);
  return recording;
}

void Recorder::save_trace(const std::filesystem::path& path) {
  ensure(impl_->result != nullptr, "there is no recording to save");
  PendingFile file(path);
  const auto whose = file.path().string();
  impl_->result->save(whose);
  if (!is_complete(file.path())) {
    raise<FileError>("{}: the trace could not be written in full. Is there space?", path.string());
  }
  file.commit();
}

bool Recorder::save_device_history(const std::filesystem::path& path) const {
  if (!impl_->keeps_history) return false;
  write_file(path, impl_->history);
  return true;
}

struct Scope::Impl {
  model::Scope scope;
};

Scope::Scope(std::string_view name) : impl_(new Impl{model::Scope(name)}) {}
Scope::Scope(std::string_view name, std::int64_t number) : impl_(new Impl{model::Scope("{} {}", name, number)}) {}
Scope::~Scope() = default;

}  // namespace lorica::engine
