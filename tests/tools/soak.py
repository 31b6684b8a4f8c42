# SPDX-License-Identifier: GPL-3.0-or-later
"""
make soak: the scenarios that live on chance, over and over with new seeds, for a bounded time.

A failure prints the command that repeats it and its output; the last line is
`N passed, N failed`.
"""
import argparse
import os
import random
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCENARIOS = ("applications_change_things", "kill9_and_continue", "ctrl_c_any_time", "server_vanishes", "hard_links", "odd_names_live", "posix_ops")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    chance = random.Random(args.seed)
    print("soak for %.0f s, seed %d" % (args.seconds, args.seed), flush=True)
    end = time.monotonic() + args.seconds
    passed = failed = 0
    while time.monotonic() < end:
        name = chance.choice(SCENARIOS)
        source = chance.choice(("v3", "v4") if name == "server_vanishes" else ("v3", "v4", "file"))
        argv = [sys.executable, os.path.join(ROOT, "tests/scenario/run.py"), name, "--source", source,
                "--target", chance.choice(("ext4", "xfs", "btrfs")), "--seed", str(chance.randrange(1 << 32))]
        began = time.monotonic()
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
            good, output = done.returncode == 0, done.stdout
        except subprocess.TimeoutExpired as error:
            good, output = False, (error.stdout or b"") + b"\nno end within 600 s"
        passed, failed = passed + good, failed + (not good)
        print("%s %5.1f s  %s" % ("ok    " if good else "FAILED", time.monotonic() - began, " ".join(argv[2:])), flush=True)
        if not good:
            print(output.decode(errors="replace")[-8000:], flush=True)
    print("%d passed, %d failed" % (passed, failed), flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
