// The exception types of Lorica. A message says what was wrong, where (file, key, line, tensor), and what to do.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace lorica {

/// Base of all errors that Lorica raises on purpose. `exit_code` is the process's: 2 for the user's mistakes
/// (a bad option, file, model or machine too small), 1 for everything else.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, int exit_code = 1) : std::runtime_error(message), exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }

 private:
  int exit_code_;
};

/// A bad option, option value or combination of options.
class ConfigError : public Error {
 public:
  explicit ConfigError(const std::string& message) : Error(message, 2) {}
};

/// A bad data set, tokenizer or text file.
class DataError : public Error {
 public:
  explicit DataError(const std::string& message) : Error(message, 2) {}
};

/// A bad model, adapter or checkpoint.
class ModelError : public Error {
 public:
  explicit ModelError(const std::string& message) : Error(message, 2) {}
};

/// A file or folder that can't be read or written (missing, no permission, disk full).
class FileError : public Error {
 public:
  explicit FileError(const std::string& message) : Error(message, 2) {}
};

/// A device that is missing, too small or lost.
class DeviceError : public Error {
 public:
  explicit DeviceError(const std::string& message, int exit_code = 2) : Error(message, exit_code) {}
};

/// Training that can't go on: a non-finite loss or gradient.
class TrainingError : public Error {
 public:
  explicit TrainingError(const std::string& message) : Error(message, 1) {}
};

/// Another process of the run that failed, stopped answering or can't be reached. The message names the first one.
class PeerError : public Error {
 public:
  explicit PeerError(const std::string& message) : Error(message, 1) {}
};

/// Throws `E` with a formatted message: `raise<DataError>("{}: line {}: …", path, line)`.
template <class E, class... Args>
[[noreturn]] void raise(fmt::format_string<Args...> format, Args&&... args) {
  throw E(fmt::format(format, std::forward<Args>(args)...));
}

/// Checks an invariant of ours (not the user's input): throws Error with exit code 1.
template <class... Args>
void ensure(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) throw Error("internal error: " + fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace lorica
