#include "train/metrics/status_line.hpp"

#include <spdlog/sinks/sink.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <utility>
#include <vector>

namespace lorica::train {

namespace {

constexpr auto kSizeCheck = std::chrono::milliseconds(300);

/// The first character of a UTF-8 text; a byte that begins none is one by itself.
struct Character {
  std::size_t bytes = 0;
  int columns = 0;
};

Character first_of(std::string_view text) {
  if (text.empty()) return {};
  utf8proc_int32_t code = -1;
  const auto bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                      static_cast<utf8proc_ssize_t>(text.size()), &code);
  if (bytes <= 0 || code < 0) return {1, 1};
  return {static_cast<std::size_t>(bytes), utf8proc_charwidth(code)};
}

/// Whether the terminal breaks lines anew when it is resized. Most do; those that don't cut them off.
bool wraps_again() {
  const char* name = std::getenv("TERM");
  const std::string_view term = name != nullptr ? name : "";
  return std::getenv("XTERM_VERSION") == nullptr && !term.starts_with("rxvt") && term != "linux" &&
         (!term.starts_with("screen") || std::getenv("TMUX") != nullptr);
}

}  // namespace

int terminal_columns(std::FILE* stream) {
  const int fd = ::fileno(stream);
  if (fd < 0 || ::isatty(fd) == 0) return 0;
  winsize size{};
  return ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

int display_width(std::string_view text) {
  int width = 0;
  for (Character next = first_of(text); next.bytes > 0; next = first_of(text)) {
    width += next.columns;
    text.remove_prefix(next.bytes);
  }
  return width;
}

std::string fit_columns(std::string_view text, int columns) {
  std::size_t end = 0;
  int used = 0;
  for (Character next = first_of(text); next.bytes > 0; next = first_of(text.substr(end))) {
    used += next.columns;
    if (used > columns) break;
    end += next.bytes;
  }
  return std::string(text.substr(0, end));
}

/// The line's state, shared with the logger's sink, which may outlive the StatusLine for a moment.
struct StatusLine::Shared {
  std::FILE* stream;
  bool terminal;
  std::mutex mutex;
  Layout layout;
  int drawn_width = 0, drawn_columns = 0;  ///< of the line that stands there, and of the terminal then
  std::vector<spdlog::sink_ptr> original_sinks;
  std::condition_variable_any closing;

  void put(std::string_view bytes) { std::fwrite(bytes.data(), 1, bytes.size(), stream); }
  /// A line that is forced onto something else than a terminal has room enough.
  int columns() const {
    const int found = terminal_columns(stream);
    return found > 0 ? found : kUnknownColumns;
  }
  void erase() {
    if (!terminal || !layout) return;
    // A terminal that became narrower has broken the line into several, with the cursor in the last.
    const int rows = wraps_again() && drawn_width > 0 ? (drawn_width - 1) / columns() : 0;
    put(rows > 0 ? fmt::format("\r\x1b[{}A\x1b[J", rows) : std::string("\r\x1b[K"));
    drawn_width = 0;
  }
  void draw() {
    if (terminal && layout) {
      // One column less than there are: some terminals wrap when the last one is filled.
      drawn_columns = columns();
      const int room = std::max(1, drawn_columns - 1);
      const auto text = fit_columns(layout(room), room);
      drawn_width = display_width(text);
      put(text);
    }
    std::fflush(stream);
  }
  void follow_size() {
    std::lock_guard lock(mutex);
    if (!layout || columns() == drawn_columns) return;
    erase();
    draw();
  }
};

namespace {

/// Passes log messages on to the sinks that were there before, between erasing the line and drawing it again.
template <class Shared>
class LineAwareSink : public spdlog::sinks::sink {
 public:
  explicit LineAwareSink(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}
  void log(const spdlog::details::log_msg& message) override {
    std::lock_guard lock(shared_->mutex);
    shared_->erase();
    std::fflush(shared_->stream);
    for (auto& sink : shared_->original_sinks) {
      if (sink->should_log(message.level)) sink->log(message);
    }
    for (auto& sink : shared_->original_sinks) sink->flush();
    shared_->draw();
  }
  void flush() override {
    for (auto& sink : shared_->original_sinks) sink->flush();
  }
  void set_pattern(const std::string& pattern) override {
    for (auto& sink : shared_->original_sinks) sink->set_pattern(pattern);
  }
  void set_formatter(std::unique_ptr<spdlog::formatter> formatter) override {
    for (auto& sink : shared_->original_sinks) sink->set_formatter(formatter->clone());
  }

 private:
  std::shared_ptr<Shared> shared_;
};

}  // namespace

StatusLine::StatusLine(std::FILE* stream, bool terminal) : shared_(std::make_shared<Shared>()) {
  shared_->stream = stream;
  shared_->terminal = terminal;
  if (!terminal) return;
  auto& sinks = spdlog::default_logger()->sinks();
  shared_->original_sinks = sinks;
  sinks = {std::make_shared<LineAwareSink<Shared>>(shared_)};
  resizes_ = std::jthread([shared = shared_](const std::stop_token& stop) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    while (!shared->closing.wait_for(lock, stop, kSizeCheck, [&] { return stop.stop_requested(); })) {
      shared->follow_size();
    }
  });
}

StatusLine::~StatusLine() {
  close();
  if (shared_->terminal) spdlog::default_logger()->sinks() = shared_->original_sinks;
}

void StatusLine::show(Layout layout) {
  std::lock_guard lock(shared_->mutex);
  if (!shared_->terminal) return;
  shared_->erase();
  shared_->layout = std::move(layout);
  shared_->draw();
}

void StatusLine::print_line(std::string_view text) {
  std::lock_guard lock(shared_->mutex);
  shared_->erase();
  shared_->put(std::string(text) + "\n");
  shared_->draw();
}

void StatusLine::close() {
  std::lock_guard lock(shared_->mutex);
  if (shared_->terminal && shared_->layout) shared_->put("\n");
  shared_->layout = nullptr;
  std::fflush(shared_->stream);
}

}  // namespace lorica::train
