/* Preloaded into a process under test, and counts the calls that change a file with ".db" in its name. Before call
   number `fault_kill` the process is killed; from call number `fault_full` on all of them fail, as on a full disk; call
   number `fault_once` fails alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

long fault_calls, fault_kill, fault_full, fault_once;

static int ours(int fd) {
  char link[64], name[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, name, sizeof name - 1);
  if (length < 0) return 0;
  name[length] = 0;
  return strstr(name, ".db") != NULL;
}

static int fails(int fd, int how) {
  if (!ours(fd)) return 0;
  if (++fault_calls == fault_kill) kill(getpid(), SIGKILL);
  if (fault_calls != fault_once && (fault_full == 0 || fault_calls < fault_full)) return 0;
  errno = how;
  return 1;
}

#define NEXT(result, name, ...) ((result (*)(__VA_ARGS__)) dlsym(RTLD_NEXT, name))

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
  if (fails(fd, ENOSPC)) return -1;
  return NEXT(ssize_t, "pwrite64", int, const void *, size_t, off64_t)(fd, data, size, offset);
}

ssize_t write(int fd, const void *data, size_t size) {
  if (fails(fd, ENOSPC)) return -1;
  return NEXT(ssize_t, "write", int, const void *, size_t)(fd, data, size);
}

int fsync(int fd) {
  if (fails(fd, EIO)) return -1;
  return NEXT(int, "fsync", int)(fd);
}

int fdatasync(int fd) {
  if (fails(fd, EIO)) return -1;
  return NEXT(int, "fdatasync", int)(fd);
}

int ftruncate64(int fd, off64_t size) {
  if (fails(fd, ENOSPC)) return -1;
  return NEXT(int, "ftruncate64", int, off64_t)(fd, size);
}
