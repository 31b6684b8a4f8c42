# SPDX-License-Identifier: GPL-3.0-or-later
"""
make soak: everything that lives on chance, over and over with new seeds, bounded by time and by number.

Each kind of work has a goal; what is furthest from its goal comes next, so that a run cut short by the time
has done a fair share of everything.  It ends when all goals are reached, or the time is over.

  kill matrix    every fault point on each of the three file systems
  random kills   1,000, over the three sources and file systems
  property test  15,000 operations
  power cuts     100 on each of the three file systems
  scenarios      30 runs of those in which chance has a part

A failure prints the command that repeats it and its output.  At the end a table of what was done; the last line
is `N passed, N failed`, counting commands.
"""
import argparse
import os
import random
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCES = ("v3", "v4", "file")
TARGETS = ("ext4", "xfs", "btrfs")
SCENARIOS = ("applications_change_things", "kill9_and_continue", "ctrl_c_any_time", "server_vanishes", "hard_links", "odd_names_live", "posix_ops",
             "outages", "torn_replies", "source_changes", "target_full", "read_only", "retry_and_give_up", "verbs_at_bad_times", "power_cut_control")
NEEDS_SERVER = ("server_vanishes", "outages", "torn_replies")
LIMIT = 600	# seconds for one command


class Kind:
    """One kind of work: goal and done are counted in what the scenario says it did."""

    def __init__(self, name, goal, unit, said, piece):
        self.name, self.goal, self.unit, self.said, self.piece = name, goal, unit, re.compile(said), piece
        self.planned = self.done = self.runs = self.failed = 0
        self.seconds = 0.0

    def left(self):
        return self.goal - self.planned


def matrix(target):
    return lambda chance, left: ("kill_matrix", "file", target, {"DMM_MATRIX": "all"}, 1)


def kills(chance, left):
    return "random_kills", chance.choice(SOURCES), chance.choice(TARGETS), {"DMM_KILLS": str(min(40, left))}, min(40, left)


def operations(chance, left):
    return "property_test", chance.choice(SOURCES), chance.choice(TARGETS), {"DMM_OPERATIONS": str(min(900, left))}, min(900, left)


def cuts(target):
    return lambda chance, left: ("power_cuts", chance.choice(SOURCES), target, {"DMM_CUTS": str(min(10, left))}, min(10, left))


def scenario(chance, left):
    name = chance.choice(SCENARIOS)
    return name, chance.choice(SOURCES[:2] if name in NEEDS_SERVER else SOURCES), chance.choice(TARGETS), {}, 1


def kinds():
    found = [Kind("kill matrix, " + t, 1, "cells", r"(\d+) cells on", matrix(t)) for t in TARGETS]
    found += [Kind("random kills", 1000, "kills", r"(\d+) kills in", kills),
              Kind("property test", 15000, "operations", r"(\d+) operations, \d+ kills", operations)]
    found += [Kind("power cuts, " + t, 100, "cuts", r"(\d+) cuts in", cuts(t)) for t in TARGETS]
    found.append(Kind("scenarios", 30, "runs", r"(?m)^(ok), ", scenario))
    return found


def run(kind, chance, end):
    name, source, target, env, amount = kind.piece(chance, kind.left())
    argv = [sys.executable, os.path.join(ROOT, "tests/scenario/run.py"), name, "--source", source, "--target", target,
            "--seed", str(chance.randrange(1 << 32))]
    env = dict(env, DMM_SECONDS="%.0f" % max(10, end - time.monotonic()))
    began = time.monotonic()
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT, env=dict(os.environ, **env))
        good, output = done.returncode == 0, done.stdout
    except subprocess.TimeoutExpired as error:
        good, output = False, (error.stdout or b"") + b"\nno end within %d s" % LIMIT
    output = output.decode(errors="replace")
    said = kind.said.findall(output)
    kind.planned += amount
    kind.done += (int(said[-1]) if said[-1].isdigit() else 1) if said else 0
    kind.runs += 1
    kind.failed += not good
    kind.seconds += time.monotonic() - began
    told = " ".join(["%s=%s" % item for item in env.items() if item[0] != "DMM_SECONDS"] + argv[2:])
    print("%s %5.1f s  %s" % ("ok    " if good else "FAILED", time.monotonic() - began, told), flush=True)
    if not good:
        print(output[-8000:], flush=True)


def table(all_kinds):
    print("\n%-22s %10s %-10s %6s %7s %8s" % ("", "done", "", "runs", "failed", "seconds"))
    for k in all_kinds:
        print("%-22s %10d %-10s %6d %7d %8.0f%s" % (k.name, k.done, k.unit, k.runs, k.failed, k.seconds,
                                                   "" if k.left() <= 0 else "   (time was over at %d %%)" % (100 * k.planned // k.goal)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    chance = random.Random(args.seed)
    print("soak for at most %.0f s, seed %d" % (args.seconds, args.seed), flush=True)
    end = time.monotonic() + args.seconds
    work = kinds()
    chance.shuffle(work)	# a short run does not always leave the same out
    while time.monotonic() < end:
        todo = [k for k in work if k.left() > 0]
        if not todo:
            break
        run(min(todo, key=lambda k: k.planned / k.goal), chance, end)
    table(sorted(work, key=lambda k: k.name))
    failed = sum(k.failed for k in work)
    passed = sum(k.runs for k in work) - failed
    print("%d passed, %d failed" % (passed, failed), flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
