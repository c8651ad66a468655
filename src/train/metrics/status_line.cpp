#include "train/metrics/status_line.hpp"

#include <spdlog/sinks/sink.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace lorica::train {

int terminal_columns(std::FILE* stream) {
  const int fd = ::fileno(stream);
  if (fd < 0 || ::isatty(fd) == 0) return 0;
  winsize size{};
  return ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string fit_columns(std::string_view text, int columns) {
  int used = 0;
  std::size_t end = 0;
  while (end < text.size()) {
    if (used == columns) break;
    ++used;
    // A code point's continuation bytes are 10xxxxxx.
    do ++end;
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  }
  return std::string(text.substr(0, end));
}

/// The line's state, shared with the logger's sink, which may outlive the StatusLine for a moment.
struct StatusLine::Shared {
  std::FILE* stream;
  bool terminal;
  std::mutex mutex;
  std::string text;
  std::vector<spdlog::sink_ptr> original_sinks;

  void put(std::string_view bytes) { std::fwrite(bytes.data(), 1, bytes.size(), stream); }
  void erase() {
    if (terminal && !text.empty()) put("\r\x1b[K");
  }
  /// A line that is forced onto something else than a terminal has room enough.
  int columns() const {
    const int found = terminal_columns(stream);
    return found > 0 ? found : kUnknownColumns;
  }
  void draw() {
    // One column less than there are: some terminals wrap when the last one is filled.
    if (terminal && !text.empty()) put(fit_columns(text, std::max(20, columns()) - 1));
    std::fflush(stream);
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
}

StatusLine::~StatusLine() {
  close();
  if (shared_->terminal) spdlog::default_logger()->sinks() = shared_->original_sinks;
}

void StatusLine::show(std::string_view text) {
  std::lock_guard lock(shared_->mutex);
  if (!shared_->terminal) return;
  shared_->erase();
  shared_->text = text;
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
  if (shared_->terminal && !shared_->text.empty()) shared_->put("\n");
  shared_->text.clear();
  std::fflush(shared_->stream);
}

}  // namespace lorica::train
