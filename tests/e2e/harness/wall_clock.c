// Preloaded into Envoy by the tests: its clocks are what the file $WALL_CLOCK says, three numbers of eight bytes, signed, in the
// machine's order. The wall clock runs ahead by as many seconds as the first one, or, where the second one is not 0, stands at
// that second. The monotonic clock, and with it every timer, runs ahead by the third one, which only ever grows: timers that
// have come due by it fire, late as on a machine that slept. The file is read at every call, so that a test moves the clocks
// while Envoy runs.
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

static void move(clockid_t clock, struct timespec *now) {
  // While the file is being written there may be less in it: then what it held before counts.
  static _Atomic int64_t ahead, stands_at, monotonic_ahead;
  int64_t said[3];
  if (file >= 0 && pread(file, said, sizeof said, 0) == (ssize_t)sizeof said) {
    ahead = said[0];
    stands_at = said[1];
    monotonic_ahead = said[2];
  } else {
    said[0] = ahead;
    said[1] = stands_at;
    said[2] = monotonic_ahead;
  }
  if (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE) {
    now->tv_sec += said[2];
  } else if (said[1] != 0) {
    now->tv_sec = said[1];
    now->tv_nsec = 0;
  } else {
    now->tv_sec += said[0];
  }
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = (int)syscall(SYS_clock_gettime, clock, now);
  switch (clock) {
    case CLOCK_REALTIME: case CLOCK_REALTIME_COARSE: case CLOCK_MONOTONIC: case CLOCK_MONOTONIC_COARSE:
      if (!failed) move(clock, now);
  }
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
