"""What a process has used of the machine."""

from __future__ import annotations

import time

from harness.gateway import Gateway
from harness.memory import rss_kib

# <linux/posix-timers.h>: the clock of all the time on a processor, user's and kernel's, of a process and its threads. The same
# as the sum of utime and stime in /proc/PID/stat, in nanoseconds where that has hundredths of a second.
CPUCLOCK_SCHED = 2
# Who uses less of a processor does nothing but keep watch. Twice: another process may have had the processor once.
RESTING = 0.1
REST_SECONDS, REST_TIMES = 0.02, 2
REST_WITHIN = 10.0


def cpu_seconds(pid: int) -> float:
    return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)


def rest(pid: int) -> None:
    """Waits until a process does nothing: what was asked of it last may still be under way, though nobody waits for it."""
    before, rested = cpu_seconds(pid), 0
    for _ in range(int(REST_WITHIN / REST_SECONDS)):
        time.sleep(REST_SECONDS)
        now = cpu_seconds(pid)
        rested = rested + 1 if now - before < RESTING * REST_SECONDS else 0
        if rested == REST_TIMES:
            return
        before = now
    raise TimeoutError(f"process {pid} does not come to rest")


def requests_begun(gateway: Gateway) -> int:
    """How many requests an Envoy's listeners have had from others, answered or not."""
    stats = gateway.admin("/stats?format=json&filter=^http[.].*[.]downstream_rq_total$").json()["stats"]
    own = {f"http.{listener}.downstream_rq_total" for listener in ("admin", "signing_keys")}
    return sum(each["value"] for each in stats if each["name"] not in own)


def rss_bytes(pid: int) -> int:
    return rss_kib(pid) * 1024
