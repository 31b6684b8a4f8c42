# SPDX-License-Identifier: GPL-3.0-or-later
"""A migration from its beginning to its end, with everything a tree can hold."""
import os
import pty
import subprocess
import time

from lib import compare, sysx, trees, work
from lib.env import check, program, sh


def detach_plain(e):
    """After the end: the plain tree, and nothing else."""
    trees.mixed(e.source_dir, e.seed, 300 if e.quick else 4000)
    os.chmod(e.source_dir, 0o751)
    e.serve()
    run = e.run()
    run.mounted()
    worker = run.worker
    started = work.start_time(worker)
    with open(e.path("by the application"), "w") as f:
        f.write("hello")
    final = run.finish()
    e.say("ledger:", final["ledger"])
    check(not work.alive(worker, started), "the worker still lives")
    e.check_plain(0o751)
    e.check_same(expected={b"by the application": b"hello"}, ignore_directory_mtime=[b""])
    os.unlink(e.path("by the application"))
    digest = "find . -mindepth 1 -printf '%P %y %l\\0' | sort -z | sha256sum; find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum"
    source, target = sh(digest, cwd=e.source_dir), sh(digest, cwd=e.target)
    check(source == target, "digests of names and contents differ")
    found = sh("getfattr -h -R -m - --absolute-names . 2>/dev/null | head -5", cwd=e.target)
    check(not found, "xattrs are left:", found)
    check_ledger(final["ledger"], e.source_dir)
    # The same command line once more says that it is done, and touches nothing.
    again = e.run()
    again.finish()
    check(again.find("already-finished"), "not told that it is finished")
    e.check_plain(0o751)


def terminal(e):
    """Without --json: on a terminal a live display, otherwise lines; both tell the end."""
    trees.mixed(e.source_dir, e.seed, 300)
    e.serve()
    for kind in ("terminal", "pipe"):
        target = e.target_fs.path + "/" + kind
        os.mkdir(target)
        argv = [program(), "run", e.url, target, "--state", "%s/state %s" % (e.work, kind)]
        ours, theirs = pty.openpty() if kind == "terminal" else os.pipe()
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, preexec_fn=sysx.die_with_parent,
                                 env=dict(os.environ, TERM="xterm", DMM_SOURCE_FAULTS="read delay=400ms"))
        os.close(theirs)
        text = b""
        try:
            while piece := os.read(ours, 65536):
                text += piece
        except OSError:		# a terminal whose last user is gone says EIO
            pass
        os.close(ours)
        check(child.wait(60) == 0, kind, "exit code", child.returncode, text[-500:])
        e.say("%s: %d bytes, %d lines, ends with %r" % (kind, len(text), text.count(b"\n"), text.strip()[-100:]))
        check(b"300" in text or b"objects" in text, "no progress in", text[-500:])
        check((b"\r" in text or b"\x1b[" in text.replace(b"\r\n", b"\n")) == (kind == "terminal"), "cursor movements", kind)
        result = compare.compare(e.source_dir, target, compare.Rules(time_bits=32))
        check(result, result)


def check_ledger(ledger, source):
    """D8: every object of the source in exactly one column."""
    found = ledger["found"]
    columns = {k: v for k, v in ledger.items() if k != "found"}
    check(sum(columns.values()) == found, "the ledger does not balance:", ledger)
    inodes = set()
    for directory, subdirectories, files in os.walk(os.fsencode(source)):
        inodes.update(os.lstat(directory + b"/" + n).st_ino for n in subdirectories + files)
    # The root may or may not count as an object found.
    check(found - len(inodes) in (0, 1), "the ledger counts %d objects, the source has %d" % (found, len(inodes)))


def odd_names(e):
    """Every odd name and type survives."""
    big = (e.kind, e.target_kind) == ("v3", "ext4") and not e.quick
    tree = trees.odd(e.source_dir, e.seed, 200000 if big else 2000, levels=250)
    e.say("made %d objects" % tree.count)
    e.serve()
    run = e.run()
    run.finish(400)
    e.say("finished")
    e.check_plain()
    e.check_same(atime=True)


def odd_names_live(e):
    """The same through the mount while nothing has arrived: the comparer itself is the application."""
    trees.odd(e.source_dir, e.seed, 300)
    e.serve()
    run = e.run("--whole-file-limit", "64K", hold=True)
    run.mounted()
    e.check_same(atime=True, blocks=False)
    e.say("same through the mount")
    run.release_background()
    run.finish()
    e.check_plain()
    e.check_same(atime=True)


def hard_links(e):
    """One inode and the right link count from the first stat; names die and change before others are discovered."""
    content = {}
    for i in range(4):
        os.mkdir(e.source_dir + "/d%d" % i)
    for group in range(12):
        first = e.source_dir + "/d0/g%d" % group
        content[group] = os.urandom(100 + group * 9000)
        with open(first, "wb") as f:
            f.write(content[group])
        for i in (1, 2):
            os.link(first, e.source_dir + "/d%d/g%d" % (i, group))
    e.serve()
    run = e.run(hold=True)
    run.mounted()

    def at(directory, group):
        return e.path("d%d" % directory, "g%d" % group)

    def read(path):
        with open(path, "rb") as f:
            return f.read()
    # 0: one inode, right count, in any order
    first = os.stat(at(2, 0))
    check(first.st_nlink == 3, "nlink of the first name seen is", first.st_nlink)
    check(first.st_size == len(content[0]), "size")
    check(os.stat(at(0, 0)).st_ino == first.st_ino == os.stat(at(1, 0)).st_ino, "three inodes")
    check(os.stat(at(1, 0)).st_nlink == 3)
    # 1: a name is deleted before the others are known
    os.unlink(at(0, 1))
    check(os.stat(at(1, 1)).st_nlink == 2, "nlink after unlink:", os.stat(at(1, 1)).st_nlink)
    check(read(at(2, 1)) == content[1], "content after deleting another name")
    # 2: written through one name before the others are known
    with open(at(1, 2), "r+b") as f:
        f.write(b"new start")
    changed2 = b"new start" + content[2][9:]
    check(read(at(0, 2)) == changed2, "another name shows old content")
    # 3: all names deleted, in the order of their discovery
    for i in range(3):
        os.unlink(at(i, 3))
    check(not any(os.path.lexists(at(i, 3)) for i in range(3)), "a deleted name is back")
    # 4: another file is renamed over the first name known
    with open(e.path("mine"), "wb") as f:
        f.write(b"mine")
    os.rename(e.path("mine"), at(0, 4))
    check(read(at(1, 4)) == content[4] and os.stat(at(1, 4)).st_nlink == 2, "rename over one name hit the others")
    check(read(at(0, 4)) == b"mine")
    # 5: a further name by the application
    os.link(at(0, 5), e.path("d3/extra"))
    check(os.stat(at(2, 5)).st_nlink == 4, "nlink with a further name:", os.stat(at(2, 5)).st_nlink)
    # 6: replaced: deleted and created anew under the same name
    os.unlink(at(2, 6))
    with open(at(2, 6), "wb") as f:
        f.write(b"replaced")
    check(read(at(0, 6)) == content[6] and os.stat(at(0, 6)).st_nlink == 2)
    # 7: truncated through one name
    os.truncate(at(2, 7), 10)
    check(read(at(1, 7)) == content[7][:10])
    # 8: renamed, while the others are unknown
    os.rename(at(1, 8), e.path("d3/moved"))
    check(os.stat(e.path("d3/moved")).st_nlink == 3 and not os.path.lexists(at(1, 8)))
    run.release_background()
    run.finish()
    e.check_plain()
    expected = {b"d0/g1": compare.DELETED, b"d0/g4": b"mine", b"d3/extra": content[5], b"d2/g6": b"replaced",
                b"d1/g8": compare.DELETED, b"d3/moved": content[8]}
    for i in range(3):
        expected[b"d%d/g2" % i] = changed2
        expected[b"d%d/g3" % i] = compare.DELETED
        expected[b"d%d/g7" % i] = content[7][:10]
    e.check_same(expected=expected, ignore_directory_mtime=[b"", b"d0", b"d1", b"d2", b"d3"])
    for group, names, count in ((0, ("d0", "d1", "d2"), 3), (1, ("d1", "d2"), 2), (2, ("d0", "d1", "d2"), 3), (4, ("d1", "d2"), 2),
                                (5, ("d0", "d1", "d2"), 4), (6, ("d0", "d1"), 2), (8, ("d0", "d2"), 3)):
        stats = [os.stat(e.path(n, "g%d" % group)) for n in names]
        check({s.st_nlink for s in stats} == {count} and len({s.st_ino for s in stats}) == 1,
              "group %d ends with" % group, [(s.st_ino, s.st_nlink) for s in stats])


def old_descriptors(e):
    """Descriptors from before the detach go on working; the program ends with the last one."""
    _old_descriptor(e, ())


def exit_when_detached(e):
    """The command returns when the mount is gone; a background process serves the old descriptor until it is closed."""
    _old_descriptor(e, ("--exit-when-detached",))


def _old_descriptor(e, options):
    trees.mixed(e.source_dir, e.seed, 100)
    content = os.urandom(50000)
    with open(e.source_dir + "/kept", "wb") as f:
        f.write(content)
    e.serve()
    run = e.run(*options)
    run.mounted()
    fd = os.open(e.path("kept"), os.O_RDONLY)
    check(os.pread(fd, 100, 0) == content[:100])
    detached = run.wait_for("detached", 60)
    worker, began = detached["pid"], work.start_time(detached["pid"])
    check(not sysx.mounts_below(os.fsencode(e.target)), "still mounted after `detached`")
    if options:
        check(run.process.wait(20) == 0, "exit code", run.process.returncode)
    else:
        time.sleep(1.5)
        check(run.process.poll() is None, "ended while a descriptor was open")
    check(began and work.alive(worker, began), "nobody serves the old descriptor")
    check(os.pread(fd, 1000, 40000) == content[40000:41000], "the old descriptor reads other bytes")
    # The plain file is the same file.
    with open(e.path("kept"), "r+b") as f:
        f.write(b"native")
    check(os.pread(fd, 6, 0) == b"native", "the old descriptor does not see a native write")
    check(os.stat(e.path("kept")).st_ino == os.fstat(fd).st_ino, "inode number changed")
    os.close(fd)
    end = time.monotonic() + 15
    while work.alive(worker, began):
        check(time.monotonic() < end, "the background process does not end after the last close")
        time.sleep(0.05)
    if not options:
        run.finish(20)
    run.check_sanitizer()
    e.check_plain()
    e.check_same(expected={b"kept": b"native" + content[6:]})
