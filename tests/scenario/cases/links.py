# SPDX-License-Identifier: GPL-3.0-or-later
"""
Bad links and bad sources: a server that is away, connections that are cut in the middle of replies, garbled and short replies, a slow
server, files that cannot be read, and a source that changes under the migration (D7).

Demand waits like a hard mount, the background tries again at its leisure, what cannot be read is put aside with its reason while the rest
arrives, and whatever waits costs no CPU.
"""
import errno
import os
import signal
import struct
import time

from cases.verbs import Answer
from lib import compare, trees
from lib.env import Background, Failed, check, timed
from lib.proc import Meter

_QUIET = 0.1	# of a CPU, for a worker that waits


def _read(path):
    with open(path, "rb") as f:
        return f.read()


def _cold(e, count, size=200000):
    """{name: content} of files that the application will read."""
    files = {}
    for i in range(count):
        files["cold %02d" % i] = e.random.randbytes(size)
        with open(e.source_dir + "/cold %02d" % i, "wb") as f:
            f.write(files["cold %02d" % i])
    return files


def _rules(e, run, text):
    with open(e.rules, "w") as f:
        f.write(text)
    if run:
        os.kill(run.worker, signal.SIGHUP)


def _start(e, rules="", *arguments, **options):
    e.rules = str(e.work) + "/faults"
    _rules(e, None, rules)
    run = e.run(*arguments, faults="@" + e.rules, **options)
    run.mounted()
    return run


def _held(first):
    """Files of this and later outages stay cold; the rest does not hurry."""
    return "; ".join("read name=cold?%d stall" % i for i in range(first, 16)) + "; read name=large delay=1s; read delay=100ms"


def outages(e):
    """Killed, frozen, unreachable, for some seconds each, while applications wait and the background is in full swing."""
    trees.mixed(e.source_dir, e.seed, 200 if e.quick else 600)
    files = _cold(e, 16)
    trees.patterned(e.source_dir + "/large", 24 << 20, e.seed)
    trees.Tree(e.source_dir, e.seed).close_directories()
    e.serve(proxy=True)
    run = _start(e, _held(10))
    check(len(os.listdir(e.target)) > 16)
    run.wait_for("status", 30, lambda s: s["found_objects"] > 20)	# the root's names are recorded
    check(_read(e.path("cold 00")) == files["cold 00"])
    expected = {}

    def cut():
        e.proxy.refuse = True
        e.proxy.cut()

    def join():
        e.proxy.refuse = False
    for number, (away, back) in enumerate(((e.server.kill, e.server.restart), (e.server.freeze, e.server.thaw), (cut, join)), 1):
        connections = e.proxy.connections
        away()
        _rules(e, run, _held(10 + 2 * number))
        names = ["cold %02d" % (8 + 2 * number + i) for i in (0, 1)]
        readers = {name: Background(_read, e.path(name)) for name in names}
        time.sleep(1)
        with Meter(run.worker) as meter:
            time.sleep(4)
        connections = e.proxy.connections - connections
        e.say("outage %d: %s, %d attempts to connect" % (number, meter, connections))
        check(e.quick or meter.share() < _QUIET, "spins while the source is away:", meter)
        check(connections < 60, connections, "attempts to connect in 5 s")
        status = run.status()
        check(not status["source"]["connected"] and status["source"]["trouble"], "the status knows nothing of it:", status["source"])
        check(all(r.alive() for r in readers.values()), "a cold read ended without a source")
        check(_read(e.path("cold 00")) == files["cold 00"], "what is here reads")
        with open(e.path("new %d" % number), "wb") as f:
            f.write(b"meanwhile")
        expected[b"new %d" % number] = b"meanwhile"
        back()
        for name, reader in readers.items():
            check(reader.join(90) == files[name], "wrong bytes of", name)
    _rules(e, run, "")
    run.finish(180)
    check(not run.all("quarantined"), run.all("quarantined")[:3])
    check(run.all("source-trouble") and run.all("source-back"), "no event tells of the trouble")
    e.check_plain()
    e.check_same(expected=expected, ignore_directory_mtime=[b""])


def torn_replies(e):
    """Connections cut in the middle of replies; replies with a status or a result that means nothing, or of an absurd length."""
    trees.mixed(e.source_dir, e.seed, 150 if e.quick else 500)
    files = _cold(e, 8)
    trees.patterned(e.source_dir + "/large", 30 << 20, e.seed)
    trees.Tree(e.source_dir, e.seed).close_directories()
    e.serve(proxy=True)
    done = {"cut": 0, "status": 0, "accept": 0, "length": 0, "seen": 0}

    def mangle(reply):
        done["seen"] += 1
        if done["seen"] < 20 or len(reply) < 40:	# a start that fails is another matter
            return reply
        what = e.random.choice(("cut", "status", "accept", "length")) if done["seen"] % 10 == 0 else None
        if what == "length" and done["length"]:		# once: the client waits for the rest of it
            what = "cut"
        if what:
            done[what] += 1
        if what == "cut":
            return None
        if what == "status":
            struct.pack_into(">I", reply, 28, 0x12345)	# behind the empty verifier: accept state, NFS status
        elif what == "accept":
            struct.pack_into(">I", reply, 24, 5)		# SYSTEM_ERR
        elif what == "length":
            struct.pack_into(">I", reply, 0, 0xfffffff0)
        return reply
    e.proxy.mangle = mangle
    run = _start(e, "read delay=5ms")
    for name, content in files.items():
        check(_read(e.path(name)) == content, name)
    run.finish(240)
    e.say(done)
    check(done["cut"] > 3 and done["status"] and done["accept"], "the link was too good:", done)
    check(not run.all("quarantined"), run.all("quarantined")[:3])
    e.check_plain()
    e.check_same()


def slow_server(e):
    """Every answer takes a fifth of a second, and READs bring half of what was asked for: demand does not queue behind the background."""
    trees.mixed(e.source_dir, e.seed, 100 if e.quick else 250, large=(3 << 20,))
    files = _cold(e, 6)
    trees.Tree(e.source_dir, e.seed).close_directories()
    e.serve()
    run = _start(e, "any delay=200ms; read short")
    time.sleep(1)		# the background is busy by now
    with Meter(run.worker) as meter:
        for name, content in files.items():
            seconds, got = timed(_read, e.path(name))
            check(got == content, name)
            # halves of halves down to the last byte: some 17 READs of 200 ms for 200,000 bytes
            check(e.quick or seconds < 8, "%s took %.1f s" % (name, seconds))
    e.say("six cold reads:", meter)
    check(e.quick or meter.share() < 0.3, "busy with waiting:", meter)
    _rules(e, run, "any delay=10ms; read every=3 short")
    run.finish(120)
    check(not run.all("quarantined"), run.all("quarantined")[:3])
    e.check_plain()
    e.check_same()


def unreadable(e):
    """Single objects fail in all the ways there are: put aside with the reason, after few tries; the rest arrives; later all comes."""
    trees.mixed(e.source_dir, e.seed, 100 if e.quick else 300)
    kinds = ("EIO", "EACCES", "ESTALE", "ENOENT", "EPERM", "EPROTO")
    for kind in kinds:
        with open(e.source_dir + "/file " + kind, "wb") as f:
            f.write(e.random.randbytes(30000))
        os.mkdir(e.source_dir + "/dir " + kind)
        with open(e.source_dir + "/dir " + kind + "/inside", "wb") as f:
            f.write(b"inside")
    with open(e.source_dir + "/large EIO", "wb") as f:
        f.write(e.random.randbytes(5 << 20))
    trees.Tree(e.source_dir, e.seed).close_directories()
    e.serve()
    rules = ["read name=file?%s err=%s; readdir name=dir?%s err=%s" % (k, k, k, k) for k in kinds]
    run = _start(e, "; ".join(rules) + "; read name=large?EIO after=3 err=EIO")
    for kind in kinds:
        try:
            _read(e.path("file " + kind))
        except OSError as error:
            check(error.errno == errno.EIO, kind, "an application is told", error)
        else:
            raise Failed("a file that cannot be read can be read: " + kind)
    run.wait_for("errors-left", 90)
    told = {event["text"].split(":")[0]: event["text"] for event in run.all("quarantined")}
    for kind in kinds:
        for name in ("file " + kind, "dir " + kind):
            check(name in told, name, "was not put aside:", told)
            if kind != "EPROTO":
                check(os.strerror(getattr(errno, kind)) in told[name], "not the reason:", told[name])
    check(len(told) == 2 * len(kinds) + 1, told)
    e.say(told["large EIO"])
    with Meter(run.worker) as meter:
        before = run.status()["source"]["ops"]
        time.sleep(3)
        after = run.status()["source"]["ops"]
    e.say("errors left:", meter)
    check(e.quick or meter.share() < _QUIET, "spins with errors left:", meter)
    check(before == after, "asks for what it has put aside:", before, after)
    _rules(e, run, "")
    check(Answer(e, "retry", "--all").all("retried"), "nothing was retried")
    check(run.process.wait(90) == 0, "exit code", run.process.returncode)
    e.check_plain()
    e.check_same()


def _replace(path, content):
    with open(path + ".new", "wb") as f:
        f.write(content)
    os.rename(path + ".new", path)


def _rewrite(path, content, keep_mtime=False):
    st = os.stat(path)
    with open(path, "r+b") as f:
        f.write(content)
        f.truncate()
    if keep_mtime:
        os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))


def _to_directory(path):
    os.unlink(path)
    os.mkdir(path)
    with open(path + "/inside", "wb") as f:
        f.write(b"in the new directory")


def _to_file(path, content):
    os.unlink(path + "/old")
    os.rmdir(path)
    with open(path, "wb") as f:
        f.write(content)


def _other_directory(path):
    os.rename(path, path + " away")
    os.mkdir(path, 0o700)
    with open(path + "/new", "wb") as f:
        f.write(b"in the other directory")


def source_changes(e):
    """D7: whatever becomes of an object on the source after it was found, two versions are never mixed; retry takes the new one whole."""
    trees.mixed(e.source_dir, e.seed, 100 if e.quick else 200)
    new = e.random.randbytes(50000)
    changes = {
        "content": lambda p: _rewrite(p, new),
        "content, old mtime": lambda p: _rewrite(p, new, keep_mtime=True),
        "longer": lambda p: _rewrite(p, new + b"more"),
        "shorter": lambda p: _rewrite(p, new[:40000]),
        "time": lambda p: os.utime(p, ns=(5, 5)),
        "replaced": lambda p: _replace(p, new),
        "deleted": os.unlink,
        "to directory": _to_directory,
        "dir to file": lambda p: _to_file(p, new),
        "dir replaced, stopped": _other_directory,
        "dir to file, stopped": lambda p: _to_file(p, new),
        "replaced, stopped": lambda p: _replace(p, new),
        "to directory, stopped": _to_directory,
    }
    large = {
        "large content": lambda p: _rewrite(p, e.random.randbytes(6 << 20)),
        "large tail": lambda p: _patch(p, (6 << 20) - 4096, b"new tail"),
        "large shorter": lambda p: os.truncate(p, 3 << 20),
        "large replaced": lambda p: _replace(p, e.random.randbytes(6 << 20)),
    }
    for name in changes:
        if name.startswith("dir"):
            os.mkdir(e.source_dir + "/" + name)
            with open(e.source_dir + "/" + name + "/old", "wb") as f:
                f.write(b"in the old directory")
        else:
            with open(e.source_dir + "/" + name, "wb") as f:
                f.write(e.random.randbytes(50000))
    for name in large:
        trees.patterned(e.source_dir + "/" + name, 6 << 20, e.seed, 1 << 20)
    trees.Tree(e.source_dir, e.seed).close_directories()
    os.utime(e.source_dir, ns=(9, 9))
    time.sleep(0.02)
    e.serve()
    # Found by one worker; some change before the next one, which has only names to go by, some under its eyes.
    run = _start(e, "", hold=True)
    check(set(os.listdir(e.target)) >= set(changes) | set(large), "the stubs are not there")
    run.wait_for("status", 20, lambda s: s["found_objects"] > len(changes) + len(large))
    run.stop()
    for name in changes:
        if name.endswith("stopped"):
            changes[name](e.source_dir + "/" + name)
    # each large file: three chunks pass, then the others wait
    run = _start(e, "; ".join("read name=%s after=3 stall" % n.replace(" ", "?") for n in large), "--whole-file-limit", "1M", hold=True)
    os.listdir(e.target)
    sizes = {name: os.stat(e.path(name)).st_size for name in changes}
    for name in changes:
        if not name.endswith("stopped"):
            changes[name](e.source_dir + "/" + name)
    heads = {}
    for name in large:		# on demand: the first chunk of each arrives
        with open(e.path(name), "rb") as f:
            heads[name] = f.read(4096)
        check(heads[name] == _read(e.source_dir + "/" + name)[:4096], name)
    run.release_background()
    run.wait_for("status", 30, lambda s: s["landed_bytes"] >= 3 << 20)
    time.sleep(1)
    for name, change in large.items():
        change(e.source_dir + "/" + name)
    _rules(e, run, "")
    run.wait_for("errors-left", 90)
    told = {event["text"].split(": ")[0]: event["text"] for event in run.all("quarantined")}
    for name in sorted(told):
        e.say(told[name])
    expected = set(changes) | set(large)
    check(set(told) == expected, "put aside:", sorted(set(told) ^ expected))
    for name in (n for n in expected if not n.startswith("dir")):
        try:
            whole = _read(e.path(name))
        except OSError as error:
            check(error.errno == errno.EIO, name, error)
        else:
            raise Failed("%s: %d bytes of a file that has changed on the source" % (name, len(whole)))
    check({n: os.stat(e.path(n)).st_size for n in sizes} == sizes, "a stub has changed")
    Answer(e, "retry", "--all", expect=_any)
    run.wait_for("status", 60, lambda s: s["quarantined"] <= 1)
    left = Answer(e, "report").names("quarantined")
    e.say("left after the retry:", left)
    check(left == ["deleted"], "quarantined after the retry:", left)
    Answer(e, "retry", "--give-up", "deleted")
    check(run.process.wait(90) == 0, "exit code", run.process.returncode)
    e.check_plain()
    os.utime(e.source_dir, ns=(9, 9))
    # found by no listing: the root was listed before
    e.check_same(expected={b"dir replaced, stopped away": compare.DELETED}, ignore_directory_mtime=[b""])


def _patch(path, at, data):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(data)


class _Any:
    def __eq__(self, other):
        return True


_any = _Any()


def source_timeout(e):
    """--source-timeout: applications get EIO instead of waiting for ever; the migration itself waits on."""
    files = _cold(e, 4)
    trees.mixed(e.source_dir, e.seed, 50)
    e.serve()
    run = _start(e, "", hold=True)
    check(_read(e.path("cold 00")) == files["cold 00"])
    os.stat(e.path("cold 01"))
    run.stop()
    run = _start(e, "read name=cold* stall", hold=True)
    reader = Background(_read, e.path("cold 01"))
    time.sleep(3)
    check(reader.alive(), "without --source-timeout a reader waits")
    _rules(e, run, "")
    check(reader.join(30) == files["cold 01"])
    run.stop()
    run = _start(e, "", "--source-timeout", "2", hold=True)
    if e.server:
        e.server.freeze()
    else:
        _rules(e, run, "any stall")

    def fails():
        try:
            _read(e.path("cold 02"))
        except OSError as error:
            return error.errno
        return 0
    seconds, code = timed(fails)
    e.say("EIO after %.1f s" % seconds)
    check(code == errno.EIO, "a read without a source says", code)
    check(1.5 < seconds < 8, "after %.1f s instead of 2" % seconds)
    check(_read(e.path("cold 00")) == files["cold 00"], "what is here reads")
    if e.server:
        e.server.thaw()
    else:
        _rules(e, run, "")
    end = time.monotonic() + 60
    while fails():
        check(time.monotonic() < end, "still EIO after the source came back")
        time.sleep(0.5)
    run.release_background()
    run.finish(90)
    check(not run.all("quarantined"), run.all("quarantined")[:3])
    e.check_plain()
    e.check_same()
