# SPDX-License-Identifier: GPL-3.0-or-later
"""
make bench: the figures that matter, each the median of several runs on fresh file systems.

  start        from exec to a working mount, with 200 and with 50,000 objects on the source
  small files  20,000 files of 4 KiB over NFSv3 and NFSv4, from exec to the plain, flushed tree;
               beside it `cp -a` of the same tree (local, without a network) with syncfs
  large file   one file of 2 GiB, likewise

A copy tool's target is usable when it has ended; ours from the start.  Fresh file systems because
creates on an ext4 where many files were just deleted are many times slower.
"""
import argparse
import os
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/scenario"))
sys.dont_write_bytecode = True

from lib import dmm, env, fs, sysx, trees, work as _work  # noqa: E402


class Bench:
    def __init__(self, work, source_fs, runs):
        self.work, self.runs, self.number = work, runs, 0
        self.root = source_fs.path
        for name in ("few", "many", "small", "large"):
            os.mkdir(self.root + "/" + name)
        trees.wide(self.root + "/few", 200)
        trees.wide(self.root + "/many", 50000)
        trees.wide(self.root + "/small", 20000, 500, os.urandom(4096))
        trees.patterned(self.root + "/large/file", 2 << 30)

    def fresh(self):
        return fs.LoopFs(self.work, "ext4", name="target")

    def median(self, function, *args):
        values = []
        for _ in range(self.runs):
            with self.fresh() as target:
                path = target.path + "/data"
                os.mkdir(path)
                values.append(function(path, *args))
        return statistics.median(values), min(values), max(values)

    def dmm(self, server, version, name, target, *options):
        self.number += 1
        url = server.url("tree", version).replace("/tree?", "/tree/%s?" % name)
        return dmm.Dmm(self.work, env.program(), url, target, "%s/state %d" % (self.work, self.number), *options)

    def start(self, target, server, version, name):
        device = os.stat(target).st_dev
        run = self.dmm(server, version, name, target)
        try:
            while os.stat(target).st_dev == device and run.process.poll() is None:
                time.sleep(0.0005)
            os.listdir(target)
            took = time.monotonic() - run.started
            run.stop()
            return took
        finally:
            run.abandon()

    def migrate(self, target, server, version, name):
        run = self.dmm(server, version, name, target)
        try:
            run.finish(600)
            return run.find("finished")["_at"] - run.started
        finally:
            run.abandon()

    def copy(self, target, name):
        began = time.monotonic()
        subprocess.run(["cp", "-a", self.root + "/" + name + "/.", target], check=True)
        sysx.syncfs(target)
        return time.monotonic() - began


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    if os.geteuid():
        sys.exit("benchmarks need root: they mount file systems and start a server")
    work = _work.Work()
    try:
        with fs.LoopFs(work, "ext4", name="source") as source_fs:
            bench = Bench(work, source_fs, args.runs)
            with env.server(work, source_fs.path) as server:
                print("medians of %d runs [fastest-slowest], seconds; %s, %d CPUs" % (args.runs, os.uname().release, os.cpu_count()))
                for name in ("few", "many"):
                    show("start, %s objects, NFSv3" % name, bench.median(bench.start, server, 3, name))
                for name, what, unit in (("small", "20,000 files of 4 KiB", 20000), ("large", "one file of 2 GiB", 2048)):
                    for version in (3, 4):
                        show("%s, dmm NFSv%d" % (what, version), bench.median(bench.migrate, server, version, name), unit, name)
                    show("%s, cp -a, local" % what, bench.median(bench.copy, name), unit, name)
    finally:
        work.close()


def show(what, figures, unit=0, name=""):
    median, fastest, slowest = figures
    rate = "%10.0f %s" % (unit / median, "files/s" if name == "small" else "MiB/s") if unit else ""
    print("%-42s %8.3f [%.3f-%.3f] %s" % (what, median, fastest, slowest, rate), flush=True)


if __name__ == "__main__":
    main()
