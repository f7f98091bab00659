"""A mixed load on a real Envoy with the configuration we ship, while everything around it fails, turns and changes at random.

[minutes=30] [seed=n] [rate=120] [trap=1]

Every answer is judged by a model of what may be so at its time, and every issued token by PyJWT and jwt-simple. The same seed
gives the same order of events. Fails where an answer is wrong or missing, or Envoy or its memory did not hold.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from harness.processes import Supervisor
from harness.soak.report import report
from harness.soak.running import RATE, Options, Soak

NAMES = ("minutes", "seed", "rate", "trap")


def program(arguments: list[str]) -> int:
    given = dict(each.partition("=")[::2] for each in arguments)
    try:
        minutes, seed = float(given.get("minutes") or 30), int(given.get("seed") or random.randrange(1 << 32))
        rate, trap = int(given.get("rate") or RATE), bool(int(given.get("trap") or 0))
        if not given.keys() <= set(NAMES) or minutes < 0.3 or rate < 10:
            raise ValueError
    except ValueError:
        print(__doc__)
        return 2
    print(f"soak: {minutes:g} minutes, {rate} requests a second, SEED={seed}{', TRAP=1' if trap else ''}", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        supervisor = Supervisor(Path(name) / "envoy")
        supervisor.directory.mkdir()
        try:
            outcome = Soak(Path(name), supervisor, Options(60 * minutes, seed, rate, trap)).run()
        except BaseException:
            print(supervisor.logs()[-4000:], file=sys.stderr)
            raise
        finally:
            supervisor.stop()
    problems = report(outcome)
    print(f"soak: failed; again with SEED={seed}" if problems else "soak: no answer was wrong, and none was missing")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(program(sys.argv[1:]))
