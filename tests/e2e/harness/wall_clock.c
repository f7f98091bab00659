// Preloaded into Envoy by the tests: its wall clock is what the file $WALL_CLOCK says, two numbers of eight bytes, signed, in
// the machine's order. The clock runs ahead by as many seconds as the first one, or, where the second one is not 0, stands at
// that second. The file is read at every call, so that a test moves the clock while Envoy runs. The monotonic clock, and with
// it every timer, stays as it is.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int file = -1;

__attribute__((constructor)) static void open_file(void) {
  const char *name = getenv("WALL_CLOCK");
  if (name != NULL) file = open(name, O_RDONLY | O_CLOEXEC);
}

static void move(struct timespec *now) {
  // While the file is being written there may be less in it: then what it held before counts.
  static _Atomic int64_t ahead, stands_at;
  int64_t said[2];
  if (file >= 0 && pread(file, said, sizeof said, 0) == (ssize_t)sizeof said) {
    ahead = said[0];
    stands_at = said[1];
  }
  if (stands_at != 0) {
    now->tv_sec = stands_at;
    now->tv_nsec = 0;
  } else {
    now->tv_sec += ahead;
  }
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = (int)syscall(SYS_clock_gettime, clock, now);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) move(now);
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec exact;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &exact);
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *now) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (now != NULL) *now = exact.tv_sec;
  return exact.tv_sec;
}
