"""What a process has used of the machine."""

from __future__ import annotations

import time

from harness.memory import rss_kib

# <linux/posix-timers.h>: the clock of all the time on a processor, user's and kernel's, of a process and its threads. The same
# as the sum of utime and stime in /proc/PID/stat, in nanoseconds where that has hundredths of a second.
CPUCLOCK_SCHED = 2


def cpu_seconds(pid: int) -> float:
    return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)


def rss_bytes(pid: int) -> int:
    return rss_kib(pid) * 1024
