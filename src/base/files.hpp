// Reading whole files, and writing them so that a reader sees the old file or the new one, never half of one.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace lorica {

/// The whole file as bytes. Throws FileError naming the path and the system's reason.
std::string read_file(const std::filesystem::path& path);

/// Writes `content` beside `path`, syncs it and renames it over `path`. Throws FileError (disk full, read-only, …) and
/// then leaves nothing behind.
void write_file(const std::filesystem::path& path, std::string_view content);

/// A file under construction: `path()` is a temporary name in the target's folder; commit() syncs and renames it.
/// Destroyed without commit(), it removes the temporary file.
class PendingFile {
 public:
  explicit PendingFile(std::filesystem::path target);
  ~PendingFile();
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;
  const std::filesystem::path& path() const { return temporary_; }
  void commit();

 private:
  std::filesystem::path target_, temporary_;
  bool committed_ = false;
};

/// A folder under construction, with the same promise: complete under its final name, or absent. commit() syncs every
/// file in it, and replaces an existing folder of that name. It is locked (flock) while it is under construction; what
/// killed processes left unlocked for the same target is removed first.
class PendingFolder {
 public:
  explicit PendingFolder(std::filesystem::path target);
  ~PendingFolder();
  PendingFolder(const PendingFolder&) = delete;
  PendingFolder& operator=(const PendingFolder&) = delete;
  const std::filesystem::path& path() const { return temporary_; }
  void commit();

 private:
  std::filesystem::path target_, temporary_;
  int lock_ = -1;
  bool committed_ = false;
};

/// Creates `path` and its parents; throws FileError if it can't be created or isn't writable.
void create_folder(const std::filesystem::path& path);

/// Flushes a file's or folder's content to disk. Throws FileError.
void sync_path(const std::filesystem::path& path);

/// Bytes free for us on the file system that holds `path` (or its nearest existing parent).
std::uintmax_t free_disk_bytes(const std::filesystem::path& path);

/// A file mapped read-only into memory for as long as the object lives. Throws FileError.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  /// Tells the kernel that this range won't be needed soon, so that its pages stop counting as ours.
  void release(std::size_t offset, std::size_t length) const;

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace lorica
