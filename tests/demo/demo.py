# SPDX-License-Identifier: GPL-3.0-or-later
"""
make demo: a real tree moves from a real NFS server while it is being used.

Source: a copy of parts of /usr (at least 30,000 objects, with their hard links and
symlinks), a file of 4 GiB with content, a sparse file, exported by nfs-ganesha on
loopback.  Target: an empty directory on a fresh ext4.  What the narration says is measured here and now; the
exit code is 0 only if every step worked, the first five operations were done within the first second,
and source and target agree in the end, the application's own changes aside.
"""
import argparse
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "scenario"))
sys.dont_write_bytecode = True

from lib import compare, dmm, env, fs, sysx, trees, work as _work  # noqa: E402

GIB = 1 << 30
ENOUGH = 30000
LICENSES = "usr/share/common-licenses/"	# on every Debian system
_started = time.monotonic()


def say(text=""):
    print("%6.1f s  %s" % (time.monotonic() - _started, text) if text else "", flush=True)


def step(text):
    print("\n\033[1m== %s\033[0m" % text if sys.stdout.isatty() else "\n== " + text, flush=True)


class Wrong(Exception):
    pass


def need(truth, text):
    if not truth:
        raise Wrong(text)


def count(path):
    return sum(len(d) + len(f) for _, d, f in os.walk(path))


def make_source(root, large):
    """Parts of /usr until there is enough, then the two large files."""
    os.mkdir(root + "/usr")
    made = 0
    parts = ["bin", "share", "include", "sbin", "lib/python3", "lib/x86_64-linux-gnu", "lib"]
    for part in parts:
        source, target = "/usr/" + part, root + "/usr/" + part
        if made >= ENOUGH + 5000:
            break
        if not os.path.isdir(source) or os.path.islink(source) or os.path.exists(target):
            continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        # Without xattrs: NFS would not carry them (capabilities of a few programs).
        subprocess.run(["cp", "-dR", "--preserve=mode,ownership,timestamps,links", source, target], check=True)
        made += count(target)
        say("copied /usr/%s: %d objects so far" % (part, made))
    copies = 0
    while made < ENOUGH:	# a very small system
        copies += 1
        subprocess.run(["cp", "-dR", "--preserve=mode,ownership,timestamps,links", "/usr/share", root + "/usr/share%d" % copies], check=True)
        made += count(root + "/usr/share%d" % copies)
    trees.patterned(root + "/large.bin", large)
    trees.sparse(root + "/sparse.img", 2 * GIB, (0, GIB, 2 * GIB - 4096), random.Random(1), 4096)
    links = sum(os.lstat(os.path.join(d, n)).st_nlink > 1 for d, _, f in os.walk(root) for n in f)
    symlinks = sum(os.path.islink(os.path.join(d, n)) for d, s, f in os.walk(root) for n in s + f)
    say("source: %d objects, of these %d symlinks and %d names of hard links; one file of %.1f GiB; one sparse file of 2 GiB"
        % (count(root), symlinks, links, large / GIB))
    need(count(root) >= ENOUGH, "the source has only %d objects" % count(root))


def first_second(run, source, target, large):
    """The five operations, with everything still on the source."""
    expected = {}

    def timed(what, function):
        began = time.monotonic()
        result = function()
        now = time.monotonic()
        lines.append("%6.0f ms after the start: %-46s (%.1f ms)" % ((now - run.started) * 1000, what, (now - began) * 1000))
        return result
    lines = []
    device = os.stat(target).st_dev
    while os.stat(target).st_dev == device:
        need(run.process.poll() is None, "dmm ended before it mounted")
        need(time.monotonic() < run.started + 20, "no mount within 20 s")
        time.sleep(0.001)
    lines.append("%6.0f ms after the start: mounted" % ((time.monotonic() - run.started) * 1000))

    names = timed("ls", lambda: subprocess.run(["ls", target], stdout=subprocess.PIPE, check=True).stdout.decode().split())
    need(sorted(names) == sorted(os.listdir(source)), "ls shows %s" % names)

    middle = large // 2 + 12345

    def read_middle():
        with open(target + "/large.bin", "rb", buffering=0) as f:
            return os.pread(f.fileno(), 4096, middle)
    data = timed("read 4 KiB in the middle of the large file", read_middle)
    with open(source + "/large.bin", "rb") as f:
        need(data == os.pread(f.fileno(), 4096, middle), "wrong bytes in the middle of the large file")

    def append():
        with open(target + "/" + LICENSES + "GPL-2", "ab") as f:
            f.write(b"written by an application\n")
    timed("append to " + LICENSES + "GPL-2", append)
    with open(source + "/" + LICENSES + "GPL-2", "rb") as f:
        expected[os.fsencode(LICENSES + "GPL-2")] = f.read() + b"written by an application\n"

    timed("rename .../LGPL-2.1 to .../renamed", lambda: os.rename(target + "/" + LICENSES + "LGPL-2.1", target + "/" + LICENSES + "renamed"))
    expected[os.fsencode(LICENSES + "LGPL-2.1")] = compare.DELETED
    with open(source + "/" + LICENSES + "LGPL-2.1", "rb") as f:
        expected[os.fsencode(LICENSES + "renamed")] = f.read()

    timed("delete .../Artistic", lambda: os.unlink(target + "/" + LICENSES + "Artistic"))
    expected[os.fsencode(LICENSES + "Artistic")] = compare.DELETED
    took = time.monotonic() - run.started
    for line in lines:
        say(line)
    listing = os.listdir(target + "/" + LICENSES)
    need("renamed" in listing and "Artistic" not in listing and "LGPL-2.1" not in listing, "the changes do not show")
    return expected, took


class Application:
    """Reads random files of the tree all the while and compares them with the source."""

    def __init__(self, source, target, expected):
        self.reads = self.worst = 0
        self.errors = []
        self._stop = threading.Event()
        self._source, self._target = source, target
        self._files = []
        for directory, _, files in os.walk(source + "/usr/share"):
            self._files += [os.path.join(directory, n)[len(source):] for n in files if len(self._files) < 20000]
        self._files = [f for f in self._files if os.fsencode(f[1:]) not in expected and not os.path.islink(source + f)]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        rng = random.Random(1)
        while not self._stop.is_set():
            name = rng.choice(self._files)
            began = time.monotonic()
            try:
                with open(self._target + name, "rb") as f:
                    data = f.read()
                self.worst = max(self.worst, time.monotonic() - began)
                with open(self._source + name, "rb") as f:
                    if data != f.read():
                        self.errors.append(name + ": wrong content")
            except OSError as e:
                self.errors.append("%s: %s" % (name, e))
            self.reads += 1
            time.sleep(0.002)

    def stop(self):
        self._stop.set()
        self._thread.join(60)


def follow(run, limit):
    """Progress lines until everything is here and the mount is gone."""
    last = None
    end = time.monotonic() + limit
    while True:
        status = run.find("status")
        if status and status is not last:
            left = status["found_objects"] - status["here_objects"]
            rate = ""
            if last:
                seconds = max(status["seconds"] - last["seconds"], 0.001)
                rate = ", %.0f objects/s, %.0f MB/s for applications, %.0f MB/s in the background" % (
                    (status["here_objects"] - last["here_objects"]) / seconds, (status["demand_bytes"] - last["demand_bytes"]) / seconds / 1e6,
                    (status["background_bytes"] - last["background_bytes"]) / seconds / 1e6)
            say("found %d%s, here %d, left %d%s" % (status["found_objects"], "" if status["discovery_done"] else "+", status["here_objects"], left, rate))
            last = status
        if run.find("detached") or any(run.find(kind) for kind in dmm.FINAL) or run.process.poll() is not None:
            return
        need(time.monotonic() < end, "not finished within %d s" % limit)
        time.sleep(2)


def demo(work, large, version):
    step("A source: a real tree on a real NFS server (nfs-ganesha, NFSv%d, loopback)" % version)
    with fs.LoopFs(work, "ext4", "40G", "source") as source_fs, fs.LoopFs(work, "ext4", "40G", "target") as target_fs:
        source, target = source_fs.path + "/tree", target_fs.path + "/data"
        os.mkdir(source)
        os.mkdir(target)
        make_source(source, large)
        with env.server(work, source) as server:
            url = server.url("tree", version)
            step("Start, and use it at once")
            print("  $ dmm run '%s' %s" % (url, target), flush=True)
            run = dmm.Dmm(work, env.program(), url, target, str(work) + "/state")
            try:
                migrate(run, source, target, large, version)
            except BaseException:
                print(run.report(), flush=True)
                raise
            finally:
                run.abandon()


def migrate(run, source, target, large, version):
    expected, took = first_second(run, source, target, large)
    status = run.find("status")
    if status:
        say("meanwhile %d of %d objects found so far are here" % (status["here_objects"], status["found_objects"]))
    step("Everything else moves in the background, while an application goes on reading")
    application = Application(source, target, expected)
    follow(run, 900)
    application.stop()
    say("the application: %d reads, all compared with the source, %d errors, slowest %.0f ms" % (application.reads, len(application.errors), application.worst * 1000))
    need(not application.errors, "the application saw errors: %s" % application.errors[:5])
    final = run.finish(120)
    step("Detached")
    need(not sysx.mounts_below(os.fsencode(target)), "still mounted")
    say("the mount is gone, the program has ended; %.1f s from start to end" % final["seconds"])
    say("ledger: " + ", ".join("%s %d" % item for item in final["ledger"].items()))
    step("Compare source and target: names, types, content, mode, owner, times in ns, links, xattrs")
    result = compare.compare(source, target, compare.Rules(expected, time_bits=32 if version == 3 else 64,
                                                           ignore_directory_mtime=[os.fsencode(LICENSES[:-1])]))
    say(str(result))
    need(result, "source and target differ")
    say("the application's own changes are there: %d names" % len(expected))
    say("no xattr trusted.dmm, no extra name, nothing mounted")
    need(took < 1, "the first five operations took %.2f s, more than a second" % took)
    say("ls, read, write, rename and delete were done %.0f ms after the start" % (took * 1000))


def main():
    parser = argparse.ArgumentParser(description="watch a migration of a real tree")
    parser.add_argument("--large", type=float, default=4, metavar="GIB", help="size of the large file")
    parser.add_argument("--version", type=int, choices=(3, 4), default=3, help="of NFS")
    args = parser.parse_args()
    if os.geteuid():
        sys.exit("the demo needs root: it mounts file systems and starts an NFS server")
    free = shutil.disk_usage(_work.base()).free / GIB
    if free < 2.5 * args.large + 5:
        sys.exit("the demo needs %.0f GiB in %s, %.0f are free (DMM_TEST_DIR names another place)" % (2.5 * args.large + 5, _work.base(), free))
    work = _work.Work()
    try:
        demo(work, int(args.large * GIB), args.version)
    except Wrong as error:
        print("\nWRONG: %s" % error, flush=True)
        return 1
    except Exception:
        traceback.print_exc()
        print("\nWRONG: see above", flush=True)
        return 1
    finally:
        work.close()
    print("\nAll of it worked, in %.0f s." % (time.monotonic() - _started), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
