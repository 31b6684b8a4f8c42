# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input: one clear line, exit code not 0, nothing touched."""
import os
import shutil
import sqlite3
import stat
import subprocess
import time

from lib import env, ganesha, sysx
from lib.env import check


def bad_input(e):
    for name in ("a", "b"):
        with open(e.source_dir + "/" + name, "w") as f:
            f.write("content")
    os.mkdir(e.source_dir + "/sub")
    closed = e.source_fs.path + "/closed"
    os.mkdir(closed)
    os.chmod(closed, 0o700)
    url = e.serve()
    # The server lets in nobody; and one that takes root for nobody.
    refuses = e.add(ganesha.Ganesha(e.work, {"tree": e.source_dir}, env.shim(), access="None"))
    squashes = e.add(ganesha.Ganesha(e.work, {"tree": closed}, env.shim(), squash="root_squash"))
    version = 4 if e.kind == "v4" else 3
    tried = _Tries(e)

    full = e.target_fs.path + "/not empty"
    os.mkdir(full)
    with open(full + "/precious", "w") as f:
        f.write("data")
    tried.once("target not empty", url, full, says=("empty",))
    tried.once("target is a file", url, full + "/precious", says=("director",))
    tried.once("target does not exist", url, e.target_fs.path + "/none", says=("none",))
    inside = e.source_dir + "/sub"
    tried.once("target inside the source", "file://" + e.source_dir, inside, says=("inside",))
    tried.once("target is the source", "file://" + inside, inside)
    tried.once("source inside the target", "file://" + e.target + "/sub", e.target)
    for text in ("gopher://127.0.0.1/tree", "127.0.0.1:/tree", "/tree", "", "nfs://", "nfs:///tree", "file://relative", "file://",
                 "nfs://127.0.0.1/tree?version=5", "nfs://127.0.0.1/tree?nfsport=99999", "nfs://127.0.0.1/tree?nfsport=x", "nfs://127.0.0.1/tree?color=red"):
        tried.once("source %r" % text, text, e.target)
    tried.once("source does not exist", "file:///nowhere/at/all", e.target, says=("nowhere",))
    tried.once("source is a file", "file://" + e.source_dir + "/a", e.target)
    server = refuses if e.server is None else e.server
    tried.once("wrong export", server.url("wrong", version), e.target, says=("wrong",))
    tried.once("nobody listens", "nfs://127.0.0.1/tree?version=%d&nfsport=%d&mountport=%d" % (version, *ganesha.free_ports(2)), e.target)
    tried.once("no permission to mount", refuses.url("tree", version), e.target)
    tried.once("no permission to read", squashes.url("tree", version), e.target)
    _unsupported(e, url, tried)
    tried.once("not root", url, e.target, user=65534, says=("root",))
    tried.once("state inside the target", url, e.target, state=e.target + "/state", says=("state",))
    for options in (("--whole-file-limit", "many"), ("--whole-file-limit",), ("--no-such-option",), ("one too many",)):
        tried.once("options %r" % (options,), url, e.target, options=options)
    tried.raw("no arguments", ["run"])
    tried.raw("only a source", ["run", url])
    tried.raw("unknown command", ["runn", url, e.target])
    _catalogs(e, url, tried)
    _busy(e, url, tried)
    e.say("%d kinds of bad input" % tried.count)
    # After all that the same target takes a migration.
    e.run().finish()
    e.check_plain()
    e.check_same()


def _unsupported(e, url, tried):
    """A file system without xattrs."""
    path = str(e.work) + "/ramfs"
    os.mkdir(path)
    subprocess.run(["mount", "-t", "ramfs", "none", path], check=True)
    try:
        os.mkdir(path + "/data")
        tried.once("unsupported file system", url, path + "/data")
    finally:
        subprocess.run(["umount", path], check=True)


def _catalogs(e, url, tried):
    """State directories that belong to something else."""
    other = e.target_fs.path + "/other"
    os.mkdir(other)
    state = str(e.work) + "/state of another"
    run = e.run(target=other, state=state, hold=True)
    run.mounted()
    tried.once("the catalog is in use", url, e.target, state=state)
    run.stop()
    tried.once("a catalog of another target", url, e.target, state=state, says=("another", "other", "different", "belongs"))
    tried.once("a catalog of another source", "file://" + e.source_dir + "/sub", other, state=state, says=("another", "other", "different", "belongs"))
    newer = str(e.work) + "/newer state"
    shutil.copytree(state, newer)
    _make_newer(newer + "/catalog.db")
    tried.once("a newer schema", url, other, state=newer, says=("newer",))
    garbage = str(e.work) + "/garbage"
    os.mkdir(garbage)
    with open(garbage + "/catalog.db", "wb") as f:
        f.write(b"no database at all" * 1000)
    tried.once("a catalog that is none", url, e.target, state=garbage)


def _make_newer(path):
    """Raises the schema version by 1000, wherever it is kept."""
    db = sqlite3.connect(path)
    with db:
        version = db.execute("pragma user_version").fetchone()[0]
        if version:
            db.execute("pragma user_version=%d" % (version + 1000))
        changed = bool(version)
        tables = [r[0] for r in db.execute("select name from sqlite_master where type='table'")]
        for table in tables:
            columns = [r[1] for r in db.execute("pragma table_info(%s)" % table)]
            if {"key", "value"} <= set(columns):
                for key, value in db.execute("select key, value from %s where key like '%%schema%%'" % table).fetchall():
                    db.execute("update %s set value = ? where key = ?" % table, (value + 1000 if isinstance(value, int) else str(int(value) + 1000), key))
                    changed = True
    db.close()
    check(changed, "this test does not know where the catalog keeps its schema version")


def _busy(e, url, tried):
    """One writer (D9): a second run on a target that is being migrated."""
    target = e.target_fs.path + "/busy"
    os.mkdir(target)
    run = e.run(target=target, state=str(e.work) + "/busy state", hold=True)
    run.mounted()
    tried.once("target in use by another migration", url, target, state=str(e.work) + "/second state", live=True)
    check(os.listdir(target), "the first migration suffered")
    run.stop()


class _Tries:
    def __init__(self, e):
        self.e = e
        self.count = 0
        # Another user must be able to execute the programs.
        self.bin = str(e.work) + "/bin"
        shutil.copytree(os.path.dirname(env.program()), self.bin, ignore=lambda d, names: [n for n in names if not n.startswith("dmm") or n.endswith(".p")])

    def once(self, what, url, target, options=(), state=None, user=None, says=(), live=False):
        """live: the target is somebody's running migration."""
        state = state or "%s/state %d" % (self.e.work, self.count)
        before = None if live else _snapshot(target)
        self.raw(what, ["run", url, target, "--state", state, *options], user, says)
        after = None if live else _snapshot(target)
        check(before == after, "%s: the target was touched:\n%s\n%s" % (what, before, after))

    def raw(self, what, argv, user=None, says=()):
        self.count += 1
        started = time.monotonic()
        done = subprocess.run([self.bin + "/dmm", *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60,
                              user=user, group=user, extra_groups=[] if user else None, preexec_fn=sysx.die_with_parent)
        took = time.monotonic() - started
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        self.e.say("%-34s %d  %s" % (what, done.returncode, lines[0][:170] if lines else "(nothing on stderr)"))
        check(done.returncode not in (0, 3, 4) and done.returncode > 0, what, "exit code", done.returncode, lines)
        check(len(lines) == 1, "%s: %d lines on stderr:" % (what, len(lines)), *lines[:8])
        check(10 < len(lines[0]) < 500, "%s: not a clear line:" % what, lines[0])
        check(not says or any(word in lines[0].lower() for word in says), "%s: the line says none of %s:" % (what, says), lines[0])
        check(took < 20, what, "took %.1f s" % took)


def _snapshot(path):
    """Everything about the target that a refused run must leave alone."""
    found = [tuple(sysx.mounts_below(os.fsencode(path)))]
    if os.path.lexists(path):
        for directory, subdirectories, files in os.walk(path):
            for name in [""] + subdirectories + files:
                full = os.path.join(directory, name)
                st = os.lstat(full)
                found.append((full, st.st_mode, st.st_uid, st.st_mtime_ns, st.st_size if stat.S_ISREG(st.st_mode) else 0, st.st_ino,
                              tuple(os.listxattr(full, follow_symlinks=False))))
        if not os.path.isdir(path):
            found.append(os.lstat(path)[:8])
    return found
