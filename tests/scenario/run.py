# SPDX-License-Identifier: GPL-3.0-or-later
"""
Runs one scenario:  run.py NAME [--source v3|v4|file] [--target ext4|xfs|btrfs] [--seed N] [--quick]

A scenario is a function of the same name in one of the modules of cases/; it
gets an Env and fails by an exception.  The seed is printed, and --seed repeats it.  Needs root.
DMM_BUILD is the build directory (default: build/).  --keep leaves everything in place for a look.
"""
import argparse
import importlib
import os
import pkgutil
import signal
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import cases  # noqa: E402
from lib import env  # noqa: E402


def find(name):
    for module in pkgutil.iter_modules(cases.__path__):
        function = getattr(importlib.import_module("cases." + module.name), name, None)
        if callable(function):
            return function
    sys.exit("no scenario %r" % name)


def watchdog(e, limit):
    """
    A scenario that hangs in a system call on the mount hears no signal.  Killing the programs
    ends its call with an error, and it reports and cleans up like any failure.
    """
    def bark():
        print("no end within %g s: killing the programs" % limit, flush=True)
        e.report()
        for run in e.runs:
            run.abandon()
    timer = threading.Timer(limit, bark)
    timer.daemon = True
    timer.start()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--source", choices=env.SOURCES, default="v3")
    parser.add_argument("--target", choices=("ext4", "xfs", "btrfs"), default="ext4")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--quick", action="store_true", help="a slow build: smaller numbers, no limits on speed")
    parser.add_argument("--limit", type=float, default=0, help="seconds after which a hanging scenario is ended")
    parser.add_argument("--keep", action="store_true", help="stop before cleaning up")
    args = parser.parse_args()
    if os.geteuid():
        sys.exit("scenarios need root: mounts, loop devices, owners")
    function = find(args.name)
    # A test runner's timeout must clean up, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    started = time.monotonic()
    with env.Env(args.source, args.target, args.seed, args.quick or bool(os.environ.get("DMM_TEST_QUICK"))) as e:
        print("%s: source %s, target %s, seed %d" % (args.name, args.source, args.target, e.seed), flush=True)
        if args.limit:
            watchdog(e, args.limit)
        try:
            function(e)
            for run in e.runs:
                run.check_sanitizer()
            e.check_states()
        except BaseException:
            traceback.print_exc()
            e.report()
            if args.keep:
                input("kept in %s; Enter cleans up " % e.work)
            print("FAILED after %.1f s" % (time.monotonic() - started), flush=True)
            sys.exit(1)
    print("ok, %.1f s" % (time.monotonic() - started), flush=True)


if __name__ == "__main__":
    main()
