# SPDX-License-Identifier: GPL-3.0-or-later
"""
The test house tests itself: a comparer that overlooks damage would make every scenario pass.

Each kind of damage is done to one object of an identical copy, and must be reported for exactly that
object; servers, file systems and the sweep after killed runs are tried as well.
"""
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
import unittest

from lib import compare, env, fs, load, model, sysx, trees, work
from lib.proxy import Proxy


def write(path, data):
    with open(path, "xb") as f:
        f.write(data)


class Comparer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = work.Work()
        cls.fs = fs.LoopFs(cls.work, "ext4")
        cls.a, cls.b = cls.fs.path + "/a", cls.fs.path + "/b"
        for root in (cls.a, cls.b):
            os.mkdir(root)
            trees.odd(root, 7, entries=200, levels=400)

    @classmethod
    def tearDownClass(cls):
        cls.fs.close()
        cls.work.close()

    def same(self, **rules):
        return compare.compare(self.a, self.b, compare.Rules(atime=True, **rules))

    def test_0_identical_copies_agree(self):
        result = self.same()
        self.assertTrue(result, str(result))
        self.assertGreater(result.objects, 1200)

    def damaged(self, path, damage, undo, says, **rules):
        """damage(path in b) must be reported with `says`; undo() makes the copies equal again."""
        full = os.path.join(os.fsencode(self.b), path)
        damage(full)
        try:
            result = self.same(**rules)
            self.assertFalse(result, "%r: damage was overlooked" % path)
            text = "\n".join(result.differences)
            self.assertIn(says, text)
            self.assertIn(compare.show(path), text)
        finally:
            undo(full)
            os.utime(os.path.dirname(full), ns=self.times(os.path.dirname(path)))
            if os.path.lexists(full):
                os.utime(full, ns=self.times(path), follow_symlinks=False)
        result = self.same()
        self.assertTrue(result, "after undoing: " + str(result))

    def times(self, path):
        st = os.stat(os.path.join(os.fsencode(self.a), path), follow_symlinks=False)
        return st.st_atime_ns, st.st_mtime_ns

    def flip(self, at):
        def act(path):
            fd = os.open(path, os.O_RDWR)
            byte = os.pread(fd, 1, at)
            os.pwrite(fd, bytes([byte[0] ^ 1]), at)
            os.close(fd)
            os.utime(path, ns=self.times(path[len(self.b) + 1:]))
        return act

    def test_one_bit_of_content(self):
        for path, at in ((b"sizes/3145728", 3145727), (b"sizes/1", 0), (b"sizes/65537", 65536), (b"names/files/\n", 0)):
            self.damaged(path, self.flip(at), self.flip(at), "content differs from byte %d" % at)

    def test_data_in_a_hole(self):
        def fill(path):
            with open(path, "r+b") as f:
                f.seek(20 << 20)
                f.write(b"x")

        def punch(path):
            with open(path, "r+b") as f:
                sysx.fallocate(f.fileno(), sysx.FALLOC_KEEP_SIZE | sysx.FALLOC_PUNCH_HOLE, 20 << 20, 4096)
        self.damaged(b"sizes/hole only", fill, punch, "content differs from byte %d" % (20 << 20))

    def test_holes_filled_with_zeros(self):
        def fill(path):
            with open(path, "r+b") as f:
                f.write(bytes(20 << 20))

        def punch(path):
            with open(path, "r+b") as f:
                sysx.fallocate(f.fileno(), sysx.FALLOC_KEEP_SIZE | sysx.FALLOC_PUNCH_HOLE, 0, 20 << 20)
        self.damaged(b"sizes/hole only", fill, punch, "holes are lost")

    def test_size(self):
        self.damaged(b"sizes/hole at end", lambda p: os.truncate(p, (9 << 20) + 1), lambda p: os.truncate(p, 9 << 20), "st_size")

    def test_mode_owner(self):
        path = b"modes/file 4755"
        self.damaged(path, lambda p: os.chmod(p, 0o755), lambda p: os.chmod(p, 0o4755), "st_mode")

        def back(p):
            os.chown(p, 1234, 5678)
            os.chmod(p, 0o4755)
        self.damaged(path, lambda p: os.chown(p, 1235, -1), back, "st_uid")
        self.damaged(path, lambda p: os.chown(p, -1, 1), back, "st_gid")
        who = b"owners/link 0 4294967290"
        self.damaged(who, lambda p: os.lchown(p, 0, 0), lambda p: os.lchown(p, 0, 4294967290), "st_gid")

    def test_times(self):
        def shift(index):
            def act(path):
                ns = list(self.times(path[len(self.b) + 1:]))
                ns[index] += 1
                os.utime(path, ns=tuple(ns), follow_symlinks=False)
            return act
        for path in (b"types/fifo", b"types/link dangling", b"names/directories/\\x41", b"sizes/4096"):
            self.damaged(path, shift(1), lambda p: None, "mtime")
        self.damaged(b"sizes/4096", shift(0), lambda p: None, "atime")

        def wrap(path):
            atime, mtime = self.times(path[len(self.b) + 1:])
            os.utime(path, ns=(atime, mtime + (1 << 32) * 10**9))
        # 32 bits cannot tell these two apart; 64 must.
        path = b"times/-315619200 0"
        self.damaged(path, wrap, lambda p: None, "mtime")
        wrap(os.fsencode(self.b) + b"/" + path)
        self.assertTrue(self.same(time_bits=32))
        os.utime(os.fsencode(self.b) + b"/" + path, ns=self.times(path))

    def test_missing_and_extra(self):
        self.damaged(b"crowd/entry 00000199", os.unlink, lambda p: open(p, "x").close() or os.chmod(p, 0o644), "missing")
        self.damaged(b"types/empty directory", os.rmdir, lambda p: os.mkdir(p, 0o700), "missing")
        self.damaged(b"types/extra", lambda p: open(p, "x").close(), os.unlink, "on the target only")
        self.damaged(b"names/.dmm-holder", os.mkdir, os.rmdir, "on the target only")

    def test_kind(self):
        def swap(new):
            def act(path):
                os.rmdir(path) if stat.S_ISDIR(os.lstat(path).st_mode) else os.unlink(path)
                new(path)
            return act
        fifo = swap(lambda p: os.mkfifo(p) or os.chmod(p, 0o640))
        self.damaged(b"types/fifo", swap(lambda p: open(p, "x").close()), fifo, "type")
        node = b"types/char 1 3"

        def mknod(minor):
            return swap(lambda p: os.mknod(p, stat.S_IFCHR | 0o640, os.makedev(1, minor)) or os.chmod(p, 0o640))
        self.damaged(node, mknod(4), mknod(3), "st_rdev")
        self.damaged(b"types/link absolute", swap(lambda p: os.symlink("/etc/passwc", p)), swap(lambda p: os.symlink("/etc/passwd", p)),
                     "symlink target")

    def test_hard_links(self):
        path = b"links/0/group 0"
        with open(os.fsencode(self.b) + b"/" + path, "rb") as f:
            content = f.read()
        other = os.fsencode(self.b) + b"/links/1/name 0 of 0"

        def split(p):
            os.unlink(p)
            with open(p, "wb") as f:
                f.write(content)
            os.chmod(p, 0o644)
            os.utime(p, ns=self.times(path))

        def join(p):
            os.unlink(p)
            os.link(other, p)
            os.utime(p, ns=self.times(path))
        self.damaged(path, split, join, "is one inode with")
        # A hidden further name (a holder that was not emptied) shows in the count.
        with_holder = self.fs.path + "/elsewhere"
        self.damaged(path, lambda p: os.link(p, with_holder), lambda p: os.unlink(with_holder), "st_nlink")

    def test_xattrs(self):
        path = b"sizes/4096"
        self.damaged(path, lambda p: os.setxattr(p, "user.x", b"1"), lambda p: os.removexattr(p, "user.x"), "xattrs")
        for path in (b"sizes/4096", b"types/link absolute", b"types/fifo", b"names/directories/~", b"deep"):
            self.damaged(path, lambda p: os.setxattr(p, "trusted.dmm", b"1", follow_symlinks=False),
                         lambda p: os.removexattr(p, "trusted.dmm", follow_symlinks=False), "trusted.dmm")
        os.setxattr(self.b, "trusted.dmm.stamp", b"1")
        self.assertFalse(self.same(xattrs=False))
        os.removexattr(self.b, "trusted.dmm.stamp")

    def test_bottom_of_a_deep_tree(self):
        for name, levels in ((b"deep", 25), (b"deeper", 400)):
            fd = os.open(os.fsencode(self.b) + b"/" + name, os.O_RDONLY)
            for level in range(levels):
                step = next(os.fsencode(n) for n in os.listdir(fd) if os.fsencode(n).startswith(b"%02d" % (level if levels < 100 else level // 100)))
                below = os.open(step, os.O_RDONLY, dir_fd=fd)
                os.close(fd)
                fd = below
            os.unlink(b"link", dir_fd=fd)
            self.assertIn("missing", str(self.same()))
            ns = self.deep_times(name, levels)
            os.symlink(b"bottom", b"link", dir_fd=fd)
            os.utime(b"link", ns=ns[0], dir_fd=fd, follow_symlinks=False)
            os.utime(fd, ns=ns[1])
            os.close(fd)
            self.assertTrue(self.same(), "undone")

    def deep_times(self, name, levels):
        fd = os.open(os.fsencode(self.a) + b"/" + name, os.O_RDONLY)
        for _ in range(levels):
            step = next(n for n in os.listdir(fd) if n not in ("file", "link"))
            below = os.open(step, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
        link, here = os.stat(b"link", dir_fd=fd, follow_symlinks=False), os.fstat(fd)
        os.close(fd)
        return [(s.st_atime_ns, s.st_mtime_ns) for s in (link, here)]

    def test_expected_changes(self):
        def change(path, expected, act, undo, good=True):
            full = os.path.join(os.fsencode(self.b), path)
            act(full)
            result = self.same(expected={path: expected}, ignore_directory_mtime=[os.path.dirname(path)])
            self.assertEqual(bool(result), good, str(result))
            undo(full)
            os.utime(os.path.dirname(full), ns=self.times(os.path.dirname(path)))
        new = b"types/new"
        change(new, compare.ADDED, lambda p: open(p, "x").close(), os.unlink)
        change(new, b"right", lambda p: write(p, b"right"), os.unlink)
        change(new, b"right", lambda p: write(p, b"wrong"), os.unlink, good=False)
        change(new, compare.DELETED, lambda p: open(p, "x").close(), os.unlink, good=False)
        change(b"types/empty directory", compare.DELETED, os.rmdir, lambda p: os.mkdir(p, 0o700))
        change(b"types/empty directory", compare.DELETED, lambda p: None, lambda p: None, good=False)
        os.utime(self.b + "/types/empty directory", ns=self.times(b"types/empty directory"))
        self.assertTrue(self.same())


class Oracle(unittest.TestCase):
    """The model of what applications may rely on: it accepts what is right and finds each kind of loss."""

    @classmethod
    def setUpClass(cls):
        cls.work = work.Work()
        cls.source = str(cls.work) + "/source"
        os.mkdir(cls.source)
        os.mkdir(str(cls.work) + "/outside")
        load.make_tree(cls.source, 11, 2, large=(100000, 300000), outside=str(cls.work) + "/outside")

    @classmethod
    def tearDownClass(cls):
        cls.work.close()

    def setUp(self):
        self.target = str(self.work) + "/target"
        self.log = str(self.work) + "/log"
        subprocess.run(["cp", "-a", self.source, self.target], check=True)

    def tearDown(self):
        shutil.rmtree(self.target)
        os.unlink(self.log)

    def play(self, count):
        with load.Load(self.source, self.target, self.log, 5, sync=0.05) as players:
            for _ in range(count):
                for player in players.players:
                    player.step()
            for player in players.players:
                player.close()
            return players

    def judged(self, cut=None):
        m = model.replay(self.source, self.log, cut)
        found = m.judge(self.target)
        m.close()
        return found

    def recorder(self):
        recorder = load.Recorder(self.source, self.log)
        self.addCleanup(recorder.close)

        def do(op, path, result="ok", **more):
            recorder.end(recorder.begin(0, op, path, **more), result)
            return recorder.log.position()
        return do

    def says(self, text, found):
        self.assertTrue(any(text in f for f in found), "%r is not in %s" % (text, found))

    def write(self, path, at, data, keep_time=False):
        full = os.path.join(self.target, path)
        before = os.stat(full).st_mtime_ns
        with open(full, "r+b") as f:
            f.seek(at)
            f.write(data)
        if keep_time:
            os.utime(full, ns=(before, before))

    def test_load_is_accepted(self):
        players = self.play(500)
        self.assertGreater(players.recorder.log.position(), 30000)
        self.assertEqual(self.judged(), [])
        end = os.path.getsize(self.log)
        self.assertEqual(self.judged((end, end)), [], "everything happened")
        self.assertEqual(self.judged((0, end)), [], "nothing was durable, but everything may have happened")
        self.assertNotEqual(self.judged((end // 3, end // 3)), [], "what came later must not be there")

    def test_damage(self):
        self.play(250)
        m = model.replay(self.source, self.log)
        written = next(t for t in m.things.values() if t.kind == "f" and t.names and t.base is not None and any(
            f.value[:99] != m.original(t, i)[:99] and (i + 1) * model.BLOCK <= t.size.value for i, f in t.blocks.items()))
        index = next(i for i, f in written.blocks.items() if f.value[:99] != m.original(written, i)[:99] and (i + 1) * model.BLOCK <= written.size.value)
        gone = next((d, n) for d in m.things.values() if d.kind == "d" and (d.names or d is m.root) for n, f in d.entries.items() if f.value is None)
        link = next(t for t in m.things.values() if t.kind == "f" and len(t.names) > 1)

        def back():
            full = os.path.join(os.fsencode(self.target), gone[0].path(), gone[1])
            with open(full, "wb"):
                pass

        def split():
            full = os.path.join(os.fsencode(self.target), link.path())
            with open(full, "rb") as f:
                data = f.read()
            os.unlink(full)
            with open(full, "wb") as f:
                f.write(data)

        def full(path):
            return os.path.join(self.target, path)
        for text, damage in (
                ("the source's bytes", lambda: self.write(os.fsdecode(written.path()), index * model.BLOCK, m.original(written, index))),
                ("content at 20000", lambda: self.write("rest/a file", 20000, b"x", keep_time=True)),
                ("mtime", lambda: os.utime(full("rest/a file"))), ("mode", lambda: os.chmod(full("rest/a file"), 0o604)),
                ("owner", lambda: os.lchown(full("rest/a link"), 5, 5)), ("size", lambda: os.truncate(full("rest/a file"), 100)),
                ("is missing", lambda: os.unlink(full("rest/a file"))), ("is lost", lambda: os.unlink(full("rest/a file"))),
                ("nobody made it", lambda: os.mkdir(full("rest/new"))), ("it was removed", back), ("inodes", split),
                ("still has xattr trusted.dmm", lambda: os.setxattr(full("rest/a link"), "trusted.dmm", b"1", follow_symlinks=False)),
                ("not a", lambda: os.unlink(full("rest/a file")) or os.mkdir(full("rest/a file")))):
            saved = str(self.work) + "/saved"
            subprocess.run(["cp", "-a", self.target, saved], check=True)
            damage()
            self.says(text, self.judged())
            shutil.rmtree(self.target)
            os.rename(saved, self.target)
        self.assertEqual(self.judged(), [])
        m.close()

    def test_content_after_a_cut(self):
        do = self.recorder()
        now = time.time_ns() - 10**9
        path = "rest/a large file"
        before = do("write", path, at=4096, len=8192, data=1, time=now)
        after = do("write", path, at=8192, len=8192, data=2, time=now)
        nothing = (0, after)
        self.assertEqual(self.judged(nothing), [])
        self.write(path, 8192, model.data(2, 8192)[:4096])	# blocks each by themselves
        self.assertEqual(self.judged(nothing), [])
        self.says("not what was written", self.judged((before, before)))	# the second had not begun
        end = do("fsync", path)
        self.says("the source's bytes", self.judged((end, end)))
        self.assertEqual(self.judged((before, end)), [], "the fsync had not returned")
        self.write(path, 4096, model.data(1, 4096) + model.data(2, 8192))
        self.assertEqual(self.judged((end, end)), [])
        self.assertEqual(self.judged(nothing), [])
        self.write(path, 8192, model.data(1, 8192)[4096:])
        self.says("content", self.judged((end, end)))

    def test_truncate_and_rewrite_after_a_cut(self):
        do = self.recorder()
        now = time.time_ns() - 10**9
        do("truncate", "rest/a file", size=0, always=True, time=now)
        end = do("fdatasync", "rest/a file")
        self.says("size 30000, not 0", self.judged((end, end)))
        do("write", "rest/a file", at=0, len=30000, data=3, time=now)
        do("fdatasync", "rest/a file")
        end = do("chmod", "rest/a file", mode=0o600)
        self.says("the source's bytes", self.judged((end, end)))
        self.write("rest/a file", 0, model.data(3, 30000))
        self.assertEqual(self.judged((end, end)), [], "neither mtime nor mode were made durable")
        os.chmod(self.target + "/rest/a file", 0o600)
        self.assertEqual(self.judged((end, end)), [])

    def test_names_after_a_cut(self):
        do = self.recorder()
        old, new = self.target + "/rest/a file", self.target + "/s0/moved"
        between = do("rename", "s0/moved", **{"from": "rest/a file"})
        self.assertEqual(self.judged((between, between)), [])
        os.rename(old, old + "x")
        self.says("is lost", self.judged((between, between)))
        os.rename(old + "x", new)
        self.assertEqual(self.judged((between, between)), [])
        do("fsync", "rest")
        end = do("fsync", "s0")
        self.assertEqual(self.judged((end, end)), [])
        os.rename(new, old)
        found = self.judged((end, end))
        self.says("a file: is there, but it was removed", found)
        self.says("s0/moved: is missing", found)
        os.rename(old, new)
        do("unlink", "s0/moved")
        end = do("create", "s0/made", mode=0o644)
        os.unlink(new)
        self.assertEqual(self.judged((end, end)), [], "made, but nothing of it durable")
        do("fsync", "s0/made")
        self.assertEqual(self.judged((end, end)), [], "its directory was not synced")
        end = do("fsync", "s0")
        self.says("s0/made: is missing", self.judged((end, end)))

    def test_unknown_outcomes(self):
        do = self.recorder()
        now = time.time_ns() - 10**9
        do("write", "rest/a file", model.UNKNOWN, at=0, len=8192, data=4, time=now)
        do("unlink", "rest/a large file", model.UNKNOWN)
        self.assertEqual(self.judged(), [])
        self.write("rest/a file", 4096, model.data(4, 8192)[4096:])
        os.unlink(self.target + "/rest/a large file")
        self.assertEqual(self.judged(), [])
        self.write("rest/a file", 0, b"something else")
        self.says("neither", self.judged())


class House(unittest.TestCase):
    def setUp(self):
        self.work = work.Work()

    def tearDown(self):
        self.work.close()

    def test_file_systems(self):
        for kind in ("ext4", "xfs", "btrfs"):
            with fs.LoopFs(self.work, kind) as target:
                found = [k for p, k, _ in sysx.mounts_below(os.fsencode(target.path))]
                self.assertEqual(found, [kind])
                device = target.device
            self.assertFalse(sysx.mounts_below(os.fsencode(target.path)))
            self.assertNotIn(device, [d for d, image in work.loop_devices() if image.startswith(str(self.work))])

    def test_servers(self):
        root = str(self.work) + "/tree"
        os.mkdir(root)
        with env.server(self.work, root) as one, env.server(self.work, root) as two:
            self.assertNotEqual(one.nfs_port, two.nfs_port)
            port = one.nfs_port
            one.kill()
            with socket.socket() as s:
                self.assertNotEqual(s.connect_ex(("127.0.0.1", port)), 0)
            one.restart()
            self.assertEqual(one.nfs_port, port)
            with Proxy(one.nfs_port) as proxy:
                with socket.create_connection(("127.0.0.1", proxy.port)) as s:
                    # NULL call of NFS v3, AUTH_NONE
                    s.sendall(bytes.fromhex("80000028" "00000007" "00000000" "00000002" "000186a3" "00000003" "00000000") + bytes(16))
                    self.assertEqual(s.recv(100)[4:8].hex(), "00000007")
                self.assertEqual(proxy.calls()["null"], 1)

    def test_sweep_after_a_killed_run(self):
        script = ("import os,sys;sys.path.insert(0,%r)\nfrom lib import work,fs,env\nw=work.Work();f=fs.LoopFs(w,'ext4');"
                  "os.mkdir(f.path+'/t');s=env.server(w,f.path+'/t');print(w,f.device,s.process.pid,flush=True);"
                  "import time;time.sleep(60)" % os.path.dirname(os.path.abspath(__file__)))
        victim = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        path, device, pid = victim.stdout.readline().split()
        work.sweep()
        self.assertTrue(os.path.exists(path + "/lock"), "a living run must not be touched")
        victim.kill()
        victim.wait()
        victim.stdout.close()
        work.sweep()
        self.assertFalse(os.path.exists(path))
        self.assertFalse(sysx.mounts_below(os.fsencode(path)))
        self.assertNotIn((device, path), [(d, i) for d, i in work.loop_devices() if i.startswith(path)])
        self.assertFalse(work.alive(int(pid), work.start_time(int(pid))))


if __name__ == "__main__":
    unittest.main(verbosity=2)
