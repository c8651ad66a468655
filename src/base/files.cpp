#include "base/files.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "base/error.hpp"

namespace fs = std::filesystem;

namespace lorica {
namespace {

[[noreturn]] void raise_errno(const char* action, const fs::path& path) {
  const int code = errno;
  std::string advice;
  if (code == ENOSPC || code == EDQUOT) advice = " Free some space or choose another folder.";
  if (code == EACCES || code == EROFS || code == EPERM) advice = " Check the permissions or choose another folder.";
  raise<FileError>("{}: can't {}: {}.{}", path.string(), action, std::strerror(code), advice);
}

/// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

fs::path temporary_name(const fs::path& target) {
  static std::atomic<int> counter{0};
  return target.parent_path() / fmt::format(".{}.{}.{}.tmp", target.filename().string(), ::getpid(), counter++);
}

fs::path parent_or_here(const fs::path& path) {
  auto parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

}  // namespace

std::string read_file(const fs::path& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) raise_errno("open the file", path);
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) raise_errno("read the file", path);
  if (S_ISDIR(info.st_mode)) raise<FileError>("{}: is a folder, but a file is needed", path.string());
  std::string content;
  content.reserve(static_cast<std::size_t>(info.st_size));
  char buffer[1 << 16];
  for (;;) {
    const auto count = ::read(file.get(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) raise_errno("read the file", path);
    if (count == 0) return content;
    content.append(buffer, static_cast<std::size_t>(count));
  }
}

void write_file(const fs::path& path, std::string_view content) {
  PendingFile pending(path);
  {
    Descriptor file(::open(pending.path().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (file.get() < 0) raise_errno("write the file", path);
    while (!content.empty()) {
      const auto count = ::write(file.get(), content.data(), content.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) raise_errno("write the file", path);
      content.remove_prefix(static_cast<std::size_t>(count));
    }
    if (::close(file.release()) != 0) raise_errno("write the file", path);
  }
  pending.commit();
}

void sync_path(const fs::path& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) raise_errno("open", path);
  // Some file systems refuse to sync a folder (EINVAL); there is nothing to do about it.
  if (::fsync(file.get()) != 0 && errno != EINVAL) raise_errno("flush to disk", path);
}

PendingFile::PendingFile(fs::path target) : target_(std::move(target)), temporary_(temporary_name(target_)) {}

PendingFile::~PendingFile() {
  std::error_code ignored;
  if (!committed_) fs::remove(temporary_, ignored);
}

void PendingFile::commit() {
  sync_path(temporary_);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) raise_errno("write the file", target_);
  committed_ = true;
  sync_path(parent_or_here(target_));
}

namespace {

/// Whether `name` is one that temporary_name() gives for `target`.
bool is_temporary_of(const std::string& name, const fs::path& target) {
  const auto start = "." + target.filename().string() + ".";
  constexpr std::string_view end = ".tmp";
  if (!name.starts_with(start) || !name.ends_with(end) || name.size() <= start.size() + end.size()) return false;
  const auto numbers = std::string_view(name).substr(start.size(), name.size() - start.size() - end.size());
  return std::count(numbers.begin(), numbers.end(), '.') == 1 &&
         numbers.find_first_not_of("0123456789.") == std::string_view::npos;
}

/// The folder, locked for as long as the descriptor is open; −1 if another process has it, or it can't be locked.
int lock_folder(const fs::path& folder) {
  Descriptor file(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (file.get() < 0 || ::flock(file.get(), LOCK_EX | LOCK_NB) != 0) return -1;
  return file.release();
}

/// What processes that were killed had begun to write for `target`: those that live hold a lock on it.
void remove_abandoned(const fs::path& target) {
  std::error_code error;
  std::vector<fs::path> abandoned;
  for (const auto& entry : fs::directory_iterator(parent_or_here(target), error)) {
    if (entry.is_directory(error) && is_temporary_of(entry.path().filename().string(), target))
      abandoned.push_back(entry.path());
  }
  for (const auto& folder : abandoned) {
    const Descriptor lock(lock_folder(folder));
    if (lock.get() >= 0) fs::remove_all(folder, error);
  }
}

}  // namespace

PendingFolder::PendingFolder(fs::path target)
    : target_(target.has_filename() ? std::move(target) : target.parent_path()), temporary_(temporary_name(target_)) {
  remove_abandoned(target_);
  // Nobody may find it unlocked under the name by which abandoned ones are known.
  auto unlocked = temporary_;
  unlocked.replace_extension(".new.tmp");
  create_folder(unlocked);
  lock_ = lock_folder(unlocked);
  if (::rename(unlocked.c_str(), temporary_.c_str()) != 0) raise_errno("create the folder", temporary_);
}

PendingFolder::~PendingFolder() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(temporary_, ignored);
  if (lock_ >= 0) ::close(lock_);
}

void PendingFolder::commit() {
  for (const auto& entry : fs::recursive_directory_iterator(temporary_)) sync_path(entry.path());
  sync_path(temporary_);
  // rename() can't replace a folder with content, so an old one is moved aside first and removed last.
  std::error_code ignored;
  fs::path old;
  if (fs::exists(target_, ignored)) {
    old = temporary_name(target_);
    if (::rename(target_.c_str(), old.c_str()) != 0) raise_errno("replace the folder", target_);
  }
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) raise_errno("write the folder", target_);
  committed_ = true;
  sync_path(parent_or_here(target_));
  if (!old.empty()) fs::remove_all(old, ignored);
}

void create_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error || !fs::is_directory(path)) {
    raise<FileError>("{}: can't create the folder: {}. Choose another one.", path.string(),
                     error ? error.message() : "a file of that name exists");
  }
  if (::access(path.c_str(), W_OK) != 0) raise_errno("write into the folder", path);
}

std::uintmax_t free_disk_bytes(const fs::path& path) {
  auto existing = fs::absolute(path);
  while (!fs::exists(existing) && existing.has_relative_path()) existing = existing.parent_path();
  struct statvfs info {};
  if (::statvfs(existing.c_str(), &info) != 0) raise_errno("ask for the free space of", existing);
  return static_cast<std::uintmax_t>(info.f_bavail) * info.f_frsize;
}

MappedFile::MappedFile(const fs::path& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) raise_errno("open the file", path);
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) raise_errno("read the file", path);
  if (S_ISDIR(info.st_mode)) raise<FileError>("{}: is a folder, but a file is needed", path.string());
  size_ = static_cast<std::size_t>(info.st_size);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) raise_errno("map the file", path);
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void MappedFile::release(std::size_t offset, std::size_t length) const {
  static const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  // Only whole pages inside the range: the neighbours of its ends may still be in use.
  const std::size_t begin = (offset + page - 1) / page * page;
  const std::size_t end = (offset + length) / page * page;
  if (data_ != nullptr && end > begin && end <= size_ + page) {
    ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
  }
}

}  // namespace lorica
