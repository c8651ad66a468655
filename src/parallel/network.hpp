// The little of sockets that meeting needs: a listening one that nobody can take away between looking and using it, and
// the address under which this machine is reached. Messages themselves are c10d's business.
#pragma once

#include <string>

namespace lorica::parallel {

/// A file descriptor that is closed at the end.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();
  int get() const { return number_; }
  int release();

 private:
  int number_ = -1;
};

/// "localhost", "127.…", "::1".
bool is_loopback(const std::string& host);

/// A TCP socket that listens on `port` (0: any free one): on the loopback interface if `host` is it, else on all.
/// Throws ConfigError if the port is in use or not allowed.
Descriptor listen_on(const std::string& host, int port);
int port_of(const Descriptor& socket);

/// Whether a TCP connection to host:port can be made within `seconds`.
bool answers(const std::string& host, int port, double seconds);

/// The two ends of the way from here to host:port, as numbers ("10.0.0.3"); nothing is sent. Empty if there is no way
/// or the name is unknown.
struct Route {
  std::string here, there;
};
Route route_to(const std::string& host, int port);

std::string host_name();

}  // namespace lorica::parallel
