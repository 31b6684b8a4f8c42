# SPDX-License-Identifier: GPL-3.0-or-later
"""The first second: a mount at once, and only what is asked for crosses the wire."""
import os
import time

from lib import trees
from lib.env import Background, check, sh, timed

# Keepalive and connection set-up are no requests for an object.
_HOUSEKEEPING = ("null", "renew", "setclientid", "setclientid_confirm", "other", "fsinfo", "fsstat", "pathconf")


def available_at_once(e):
    """From exec to the first `ls` through the mount, for a small and a huge source."""
    sizes = {"small": 300, "large": 20000 if e.quick else 100000}
    for name, count in sizes.items():
        os.mkdir(e.source_dir + "/" + name)
        took, made = timed(trees.wide, e.source_dir + "/" + name, count)
        e.say("made a source of %d objects in %.1f s" % (made, took))
    base = e.serve()
    results = {name: [] for name in sizes}
    for attempt in range(3):
        for name in sizes:
            target = e.target_fs.path + "/%s %d" % (name, attempt)
            os.mkdir(target)
            before = os.stat(target).st_dev
            run = e.run(source=_below(base, name), target=target, state="%s/state %s %d" % (e.work, name, attempt))
            while os.stat(target).st_dev == before:
                check(run.process.poll() is None, "ended before it mounted")
                check(time.monotonic() < run.started + 20, "no mount after 20 s")
                time.sleep(0.001)
            listing = sh("ls", cwd=target).split()
            results[name].append(time.monotonic() - run.started)
            check(listing == sorted(os.listdir(e.source_dir + "/" + name)), "the first ls shows", listing[:5])
            said = run.mounted()["seconds"]
            e.say("%s: first ls after %.0f ms, the program says mounted after %.0f ms" % (name, results[name][-1] * 1000, said * 1000))
            run.stop()
    if not e.quick:
        for name, seconds in results.items():
            check(sorted(seconds)[1] < 1.0, name, "median over 1 s:", seconds)
        check(min(results["large"]) - min(results["small"]) < 0.25, "the time grows with the source:", results)


def _below(url, name):
    """The same source, one directory further down."""
    if "?" not in url:
        return url + "/" + name
    path, options = url.split("?")
    return path + "/" + name + "?" + options


class Requests:
    """What the source was asked since the last look: by the wire's count (NFS), else by the program's."""

    def __init__(self, e, run):
        self.e, self.run = e, run
        self.before = None
        self.take()

    def take(self):
        if self.e.proxy:
            time.sleep(0.3)
            calls = self.e.proxy.calls()
            calls["readdir"] += calls.pop("readdirplus", 0)
            now = {k: v for k, v in calls.items() if k not in _HOUSEKEEPING}
        else:
            lanes = self.run.source_ops()
            now = {op: sum(lane.get(op, 0) for lane in lanes.values()) for op in set().union(*lanes.values()) - {"statfs"}}
        taken = {k: v - (self.before or {}).get(k, 0) for k, v in now.items()}
        self.before = now
        return {k: v for k, v in taken.items() if v}


def cold_ls_one_listing(e):
    """A cold `ls -l` of one directory: one listing of that directory, nothing else's."""
    for i in range(30):
        os.makedirs(e.source_dir + "/d%d/sub" % i)
        for j in range(40):
            with open(e.source_dir + "/d%d/f%d" % (i, j), "w") as f:
                f.write("x" * 3000)
    e.serve(proxy=True)
    run = e.run(hold=True)
    run.mounted()
    requests = Requests(e, run)
    lines = sh("ls -l | wc -l", cwd=e.path("d7")).strip()
    check(lines == "42", "ls shows", lines, "lines")
    cost = requests.take()
    e.say("ls -l d7:", cost)
    # A local directory's end shows only in one more, empty page.
    check(1 <= cost.get("readdir", 0) <= (2 if e.kind == "file" else 1), "listings:", cost)
    check(cost.get("lookup", 0) <= 1 and cost.get("getattr", 0) <= 2, "beside the listing:", cost)
    check(set(cost) <= {"readdir", "lookup", "getattr"}, "unexpected requests:", cost)
    sh("ls -l >/dev/null", cwd=e.path("d7"))
    check(not requests.take(), "the second ls asks again")
    run.release_background()
    run.finish()
    e.check_plain()
    e.check_same()


def cold_stat_only_lookups(e):
    """A cold `stat a/b/c`: one lookup a component, no listing; a name that is not there: one lookup."""
    os.makedirs(e.source_dir + "/a/b/c")
    for where in ("", "/a", "/a/b", "/a/b/c"):
        for i in range(500):
            open(e.source_dir + where + "/other %d" % i, "x").close()
    with open(e.source_dir + "/a/b/c/file", "w") as f:
        f.write("y" * 5000)
    e.serve(proxy=True)
    run = e.run(hold=True)
    run.mounted()
    requests = Requests(e, run)
    st = os.stat(e.path("a/b/c"))
    cost = requests.take()
    e.say("stat a/b/c:", cost)
    check(cost.get("lookup") == 3 and set(cost) <= {"lookup", "getattr"} and cost.get("getattr", 0) <= 3, "stat a/b/c costs", cost)
    check(os.stat(e.path("a/b/c/file")).st_size == 5000)
    cost = requests.take()
    check(cost.get("lookup") == 1 and set(cost) <= {"lookup", "getattr"}, "stat of a file in it costs", cost)
    check(not os.path.exists(e.path("a/b/none")))
    cost = requests.take()
    check(cost.get("lookup") == 1 and set(cost) <= {"lookup", "getattr"}, "a name that is not there costs", cost)
    check(os.stat(e.path("a/b/c")).st_ino == st.st_ino)
    check(not requests.take(), "the same again asks again")
    run.stop()


def cold_read_100g_sparse(e):
    """4 KiB from the middle of 100 GiB: a few MiB at most, at once, and right."""
    size, middle = 100 << 30, 50 << 30
    trees.sparse(e.source_dir + "/big", size, (0, middle, size - 5))
    e.serve(proxy=True)
    run = e.run(hold=True)
    run.mounted()

    def moved():
        if e.proxy:
            return e.proxy.bytes_down()
        source = run.status()["source"]
        return source["demand_bytes"] + source["background_bytes"]
    check(os.stat(e.path("big")).st_size == size, "size")
    for offset, wanted in ((middle, b"data!"), (size - 5, b"data!"), (0, b"data!"), (middle + (9 << 30), bytes(5))):
        before = moved()
        fd = os.open(e.path("big"), os.O_RDONLY)
        took, data = timed(os.pread, fd, 4096, offset)
        os.close(fd)
        cost = moved() - before
        e.say("4 KiB at %d: %.0f ms, %d bytes moved" % (offset, took * 1000, cost))
        check(data[:5] == wanted, "reads", data[:5])
        check(cost <= 4 << 20, cost, "bytes moved for one read")
        check(took < 2 or e.quick, "took", took)
    run.stop()


def stalled_fetch(e):
    """10 s of delay on one file, 200 readers waiting for it: nobody else notices."""
    content = os.urandom(20000)
    for name, data in [("slow", content)] + [("f%d" % i, b"%d " % i * 1000) for i in range(1500)]:
        with open(e.source_dir + "/" + name, "wb") as f:
            f.write(data)
    os.mkdir(e.source_dir + "/dir")
    for i in range(300):
        open(e.source_dir + "/dir/g%d" % i, "x").close()
    e.serve()
    run = e.run(hold=True, faults="read name=slow* delay=10s")
    run.mounted()
    # Somebody's migrated files, and everybody's names.
    check(len(os.listdir(e.target)) == 1502)
    for i in range(100):
        open(e.path("f%d" % i), "rb").close()
    started = time.monotonic()

    def read_slow():
        with open(e.path("slow"), "rb") as f:
            return f.read(), time.monotonic() - started
    readers = [Background(read_slow) for _ in range(200)]
    while time.monotonic() < started + 1.5:
        time.sleep(0.05)
    worst = {}

    def measure(what, function, *args):
        took, result = timed(function, *args)
        worst[what] = max(worst.get(what, 0), took)
        return result

    def slurp(path):
        with open(path, "rb") as f:
            return f.read()
    i = 0
    while time.monotonic() < started + 7:
        i += 1
        measure("stat warm", os.stat, e.path("f%d" % (i % 100)))
        check(measure("read warm", slurp, e.path("f%d" % (i % 100))) == b"%d " % (i % 100) * 1000)
        n = 100 + i % 1400
        check(measure("read cold", slurp, e.path("f%d" % n)) == b"%d " % n * 1000)
        measure("stat slow", os.stat, e.path("slow"))
        measure("list", os.listdir, e.path("dir"))
        measure("create", lambda: open(e.path("new%d" % i), "w").close())
        measure("rename", os.rename, e.path("new%d" % i), e.path("newer%d" % i))
        measure("unlink", os.unlink, e.path("newer%d" % i))
        time.sleep(0.02)
    e.say("%d rounds beside 200 stalled readers, worst:" % i, ", ".join("%s %.0f ms" % (k, v * 1000) for k, v in worst.items()))
    stalled = sum(r.alive() for r in readers)
    check(stalled == 200, "only %d of 200 readers were stalled" % stalled)
    status = run.status()
    check(status["mount"]["parked"] >= 1 and status["stalled"], "status does not tell of the stalled readers")
    check(max(worst.values()) < (5 if e.quick else 1), "delayed by the stalled fetch:", worst)
    for reader in readers:
        data, took = reader.join(30)
        check(data == content, "a stalled reader got other bytes")
        check(took > 8, "the fault was not in force: answered after %.1f s" % took)
    run.release_background()
    run.finish()
    e.check_plain()
    e.check_same(ignore_directory_mtime=[b""])
