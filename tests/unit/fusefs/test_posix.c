/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a POSIX program may expect of the mount, in passthrough and in plain mode; no engine. */
#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static int up_pt(void **s) { return rig_up(s, 0); }
static int up_plain(void **s) { return rig_up(s, RIG_PLAIN); }

static void test_files(void **state)
{
	struct rig *r = *state;
	char buf[16];
	struct stat a, b;

	rig_write(rig_path(r, "f"), "hello", 5);
	assert_int_equal(rig_read(rig_path(r, "f"), buf, sizeof buf), 5);
	assert_memory_equal(buf, "hello", 5);
	assert_int_equal(stat(rig_path(r, "f"), &a), 0);
	assert_int_equal(fstatat(rig_backing(r), "f", &b, 0), 0);
	assert_int_equal(a.st_ino, b.st_ino);	/* the target's own, before and after detach */
	assert_int_equal(a.st_size, 5);
	assert_int_equal(link(rig_path(r, "f"), rig_path(r, "g")), 0);
	assert_int_equal(stat(rig_path(r, "f"), &a), 0);
	assert_int_equal(a.st_nlink, 2);
	assert_int_equal(symlink("some/where", rig_path(r, "l")), 0);
	assert_int_equal(readlink(rig_path(r, "l"), buf, sizeof buf), 10);
	assert_int_equal(unlink(rig_path(r, "f")), 0);
	assert_int_equal(stat(rig_path(r, "f"), &a), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(stat(rig_path(r, "g"), &a), 0);
	assert_int_equal(a.st_nlink, 1);
	assert_int_equal(mkfifo(rig_path(r, "p"), 0600), 0);
	assert_int_equal(mknod(rig_path(r, "c"), S_IFCHR | 0600, 0x103), 0);
	assert_int_equal(stat(rig_path(r, "c"), &a), 0);
	assert_true(S_ISCHR(a.st_mode) && a.st_rdev == 0x103);
}

static void test_rename(void **state)
{
	struct rig *r = *state;
	char buf[4];

	rig_write(rig_path(r, "a"), "a", 1);
	rig_write(rig_path(r, "b"), "b", 1);
	assert_int_equal(mkdir(rig_path(r, "d"), 0755), 0);
	assert_int_equal(renameat2(AT_FDCWD, rig_path(r, "a"), AT_FDCWD, rig_path(r, "b"), RENAME_NOREPLACE), -1);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(renameat2(AT_FDCWD, rig_path(r, "a"), AT_FDCWD, rig_path(r, "b"), RENAME_EXCHANGE), 0);
	assert_int_equal(rig_read(rig_path(r, "a"), buf, 4), 1);
	assert_int_equal(buf[0], 'b');
	assert_int_equal(renameat2(AT_FDCWD, rig_path(r, "a"), AT_FDCWD, rig_path(r, "w"), RENAME_WHITEOUT), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(rename(rig_path(r, "a"), rig_path(r, "d/x")), 0);
	assert_int_equal(rename(rig_path(r, "d/x"), rig_path(r, "b")), 0);
	assert_int_equal(rig_read(rig_path(r, "b"), buf, 4), 1);
	assert_int_equal(buf[0], 'b');
	assert_int_equal(rename(rig_path(r, "b"), rig_path(r, "d")), -1);
	assert_int_equal(errno, EISDIR);
	assert_int_equal(access(rig_path(r, "b"), F_OK), 0);
}

static void test_odd_names(void **state)
{
	static const char *const odd[] = { "new\nline", "\xff\xfe bytes", " ", "-rf", "a\\b", "..." };
	struct rig *r = *state;
	char longest[256], buf[1];

	memset(longest, 'n', 255);
	longest[255] = 0;
	rig_write(rig_path(r, longest), "1", 1);
	assert_int_equal(rig_read(rig_path(r, longest), buf, 1), 1);
	for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
		rig_write(rig_path(r, odd[i]), "2", 1);
		assert_int_equal(faccessat(rig_backing(r), odd[i], F_OK, 0), 0);
		assert_int_equal(unlink(rig_path(r, odd[i])), 0);
	}
	{
		char tool[300];

		memset(tool, 'n', 256);
		tool[256] = 0;
		assert_int_equal(open(rig_path(r, tool), O_CREAT | O_WRONLY, 0600), -1);
		assert_int_equal(errno, ENAMETOOLONG);
	}
}

/* Every name exactly once, also with small reads and a seek back. */
static void test_readdir(void **state)
{
	struct rig *r = *state;
	enum { N = 3000 };
	char seen[N] = { 0 }, name[32];
	struct dirent *de;
	int n = 0;
	DIR *d;
	long mid = 0;

	assert_int_equal(mkdir(rig_path(r, "many"), 0755), 0);
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof name, "many/%05d", i);
		assert_int_equal(mknod(rig_path(r, name), S_IFREG | 0600, 0), 0);
	}
	d = opendir(rig_path(r, "many"));
	assert_non_null(d);
	while ((de = readdir(d))) {
		if (de->d_name[0] == '.')
			continue;
		seen[atoi(de->d_name)]++;
		if (++n == N / 2)
			mid = telldir(d);
	}
	assert_int_equal(n, N);
	for (int i = 0; i < N; i++)
		assert_int_equal(seen[i], 1);
	seekdir(d, mid);
	for (n = 0; (de = readdir(d)); n++)
		;
	assert_true(n >= N / 2 && n <= N / 2 + 2);
	assert_int_equal(unlink(rig_path(r, "many/00007")), 0);
	rewinddir(d);
	for (n = 0; (de = readdir(d)); n++)
		assert_string_not_equal(de->d_name, "00007");
	assert_int_equal(n, N + 1);
	closedir(d);
	assert_int_equal(rmdir(rig_path(r, "many")), -1);
	assert_int_equal(errno, ENOTEMPTY);
}

static int as_user(void *arg)
{
	const struct rig *r = arg;
	int fd;

	if (setgid(2345) || setuid(1234))
		return 1;
	umask(027);
	fd = open(rig_path(r, "pub/mine"), O_CREAT | O_EXCL | O_RDWR, 0666);
	if (fd < 0 || mkdir(rig_path(r, "pub/dir"), 0777) || symlink("x", rig_path(r, "pub/sym")) ||
	    mkfifo(rig_path(r, "pub/fifo"), 0666))
		return 2;
	if (open(rig_path(r, "secret"), O_RDONLY) >= 0 || errno != EACCES)
		return 3;
	fd = open(rig_path(r, "suid"), O_WRONLY);
	if (fd < 0 || write(fd, "x", 1) != 1)
		return 4;
	return 0;
}

static void test_caller_identity(void **state)
{
	static const char *const made[] = { "pub/mine", "pub/dir", "pub/sym", "pub/fifo" };
	struct rig *r = *state;
	struct stat st;

	assert_int_equal(mkdir(rig_path(r, "pub"), 0777), 0);
	assert_int_equal(chmod(rig_path(r, "pub"), 0777), 0);
	rig_write(rig_path(r, "secret"), "s", 1);
	assert_int_equal(chmod(rig_path(r, "secret"), 0600), 0);
	rig_write(rig_path(r, "suid"), "s", 1);
	assert_int_equal(chmod(rig_path(r, "suid"), 06777), 0);
	assert_int_equal(rig_child(as_user, r), 0);
	for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
		assert_int_equal(lstat(rig_path(r, made[i]), &st), 0);
		assert_int_equal(st.st_uid, 1234);
		assert_int_equal(st.st_gid, 2345);
	}
	assert_int_equal(stat(rig_path(r, "pub/mine"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(stat(rig_path(r, "pub/dir"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(stat(rig_path(r, "suid"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0777);	/* a write by a user clears both */
}

static void test_setattr(void **state)
{
	struct rig *r = *state;
	struct timespec t[2] = { { .tv_sec = -1000000000, .tv_nsec = 5 }, { .tv_sec = 5000000000, .tv_nsec = 7 } };
	struct stat st;

	rig_write(rig_path(r, "f"), "hello", 5);
	assert_int_equal(chmod(rig_path(r, "f"), 04751), 0);
	assert_int_equal(utimensat(AT_FDCWD, rig_path(r, "f"), t, 0), 0);
	assert_int_equal(stat(rig_path(r, "f"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 04751);
	assert_int_equal(st.st_atim.tv_sec, -1000000000);
	assert_int_equal(st.st_mtim.tv_sec, 5000000000);
	assert_int_equal(st.st_mtim.tv_nsec, 7);
	assert_int_equal(chown(rig_path(r, "f"), 4294967290u, 4294967290u), 0);
	assert_int_equal(stat(rig_path(r, "f"), &st), 0);
	assert_true(st.st_uid == 4294967290u && st.st_gid == 4294967290u);
	assert_int_equal(st.st_mode & 07777, 0751);	/* chown clears setuid */
	assert_int_equal(truncate(rig_path(r, "f"), 3), 0);
	assert_int_equal(stat(rig_path(r, "f"), &st), 0);
	assert_int_equal(st.st_size, 3);
	assert_int_equal(symlink("t", rig_path(r, "l")), 0);
	assert_int_equal(lchown(rig_path(r, "l"), 5, 6), 0);
	assert_int_equal(utimensat(AT_FDCWD, rig_path(r, "l"), t, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(lstat(rig_path(r, "l"), &st), 0);
	assert_true(st.st_uid == 5 && st.st_gid == 6 && st.st_mtim.tv_sec == 5000000000);
}

static void test_mmap(void **state)
{
	struct rig *r = *state;
	struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
	int fd = open(rig_path(r, "m"), O_CREAT | O_RDWR, 0600);
	char *p, buf[4];
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 8192), 0);
	p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	assert_int_equal(futimens(fd, old), 0);
	memcpy(p + 4096, "map", 4);
	assert_int_equal(pread(fd, buf, 4, 4096), 4);
	assert_string_equal(buf, "map");
	assert_int_equal(msync(p, 8192, MS_SYNC), 0);
	assert_int_equal(stat(rig_path(r, "m"), &st), 0);
	assert_true(st.st_mtim.tv_sec > 1000);	/* attributes are not cached once it can be written */
	assert_int_equal(pwrite(fd, "via", 3, 4096), 3);
	assert_memory_equal(p + 4096, "via", 3);
	munmap(p, 8192);
	close(fd);
}

static void test_unlinked_open(void **state)
{
	struct rig *r = *state;
	int fd = open(rig_path(r, "u"), O_CREAT | O_RDWR, 0600);
	struct stat st;
	char buf[8];

	assert_int_equal(write(fd, "before", 6), 6);
	assert_int_equal(unlink(rig_path(r, "u")), 0);
	assert_int_equal(pwrite(fd, "after!", 6, 0), 6);
	assert_int_equal(ftruncate(fd, 5), 0);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 5);
	assert_int_equal(st.st_nlink, 0);
	assert_int_equal(fchmod(fd, 0640), 0);
	assert_int_equal(pread(fd, buf, 8, 0), 5);
	assert_memory_equal(buf, "after", 5);
	close(fd);
}

static void test_tmpfile(void **state)
{
	struct rig *r = *state;
	int fd = open(r->dir, O_TMPFILE | O_RDWR, 0640);
	char link_from[64], buf[8];
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "tmp", 3), 3);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_nlink, 0);
	snprintf(link_from, sizeof link_from, "/proc/self/fd/%d", fd);
	assert_int_equal(linkat(AT_FDCWD, link_from, AT_FDCWD, rig_path(r, "named"), AT_SYMLINK_FOLLOW), 0);
	close(fd);
	assert_int_equal(rig_read(rig_path(r, "named"), buf, 8), 3);
	fd = open(r->dir, O_TMPFILE | O_RDWR | O_EXCL, 0640);
	assert_true(fd >= 0);
	snprintf(link_from, sizeof link_from, "/proc/self/fd/%d", fd);
	assert_int_equal(linkat(AT_FDCWD, link_from, AT_FDCWD, rig_path(r, "no"), AT_SYMLINK_FOLLOW), -1);
	close(fd);
}

static void test_xattr(void **state)
{
	struct rig *r = *state;
	char buf[256], back[64];
	ssize_t n;

	rig_write(rig_path(r, "x"), "x", 1);
	snprintf(back, sizeof back, "/proc/self/fd/%d/x", rig_backing(r));
	assert_int_equal(setxattr(back, "trusted.dmm", "secret", 6, 0), 0);
	assert_int_equal(setxattr(back, "trusted.dmm.more", "secret", 6, 0), 0);
	assert_int_equal(setxattr(rig_path(r, "x"), "user.a", "value", 5, XATTR_CREATE), 0);
	assert_int_equal(setxattr(rig_path(r, "x"), "user.a", "value", 5, XATTR_CREATE), -1);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(setxattr(rig_path(r, "x"), "trusted.dmmx", "mine", 4, 0), 0);
	assert_int_equal(getxattr(rig_path(r, "x"), "user.a", buf, sizeof buf), 5);
	assert_memory_equal(buf, "value", 5);
	assert_int_equal(getxattr(rig_path(r, "x"), "user.a", buf, 2), -1);
	assert_int_equal(errno, ERANGE);
	n = listxattr(rig_path(r, "x"), NULL, 0);
	assert_int_equal(listxattr(rig_path(r, "x"), buf, sizeof buf), n);
	assert_non_null(memmem(buf, (size_t)n, "trusted.dmmx", 13));
	assert_null(memmem(buf, (size_t)n, "trusted.dmm", 12));
	assert_null(memmem(buf, (size_t)n, "trusted.dmm.more", 17));
	assert_int_equal(getxattr(rig_path(r, "x"), "trusted.dmm", buf, sizeof buf), -1);
	assert_int_equal(errno, ENODATA);
	assert_int_equal(setxattr(rig_path(r, "x"), "trusted.dmm.more", "y", 1, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(removexattr(rig_path(r, "x"), "trusted.dmm"), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(removexattr(rig_path(r, "x"), "user.a"), 0);
	assert_int_equal(getxattr(rig_path(r, "x"), "user.a", buf, sizeof buf), -1);
	assert_int_equal(setxattr(rig_path(r, "x"), "user.e", "", 0, 0), 0);
	assert_int_equal(getxattr(rig_path(r, "x"), "user.e", buf, sizeof buf), 0);
}

static void test_holder_hidden(void **state)
{
	struct rig *r = *state;
	struct stat st;
	struct dirent *de;
	DIR *d;

	assert_int_equal(mkdirat(rig_backing(r), TARGET_HOLDER_NAME, 0700), 0);
	assert_int_equal(lstat(rig_path(r, TARGET_HOLDER_NAME), &st), -1);
	assert_int_equal(errno, ENOENT);
	d = opendir(r->dir);
	while ((de = readdir(d)))
		assert_string_not_equal(de->d_name, TARGET_HOLDER_NAME);
	closedir(d);
	assert_int_equal(mkdir(rig_path(r, TARGET_HOLDER_NAME), 0700), -1);
	assert_int_equal(errno, EPERM);
	rig_write(rig_path(r, "a"), "a", 1);
	assert_int_equal(rename(rig_path(r, "a"), rig_path(r, TARGET_HOLDER_NAME)), -1);
	assert_int_equal(open(rig_path(r, TARGET_HOLDER_NAME), O_CREAT | O_WRONLY, 0600), -1);
	assert_int_equal(rmdir(rig_path(r, TARGET_HOLDER_NAME)), -1);
	assert_int_equal(mkdir(rig_path(r, "d"), 0700), 0);	/* elsewhere the name is free */
	assert_int_equal(mkdir(rig_path(r, "d/" TARGET_HOLDER_NAME), 0700), 0);
}

static void test_ranges(void **state)
{
	struct rig *r = *state;
	int fd = open(rig_path(r, "r"), O_CREAT | O_RDWR, 0600), out = open(rig_path(r, "o"), O_CREAT | O_RDWR, 0600);
	struct stat st;
	char buf[8] = { 0 };
	off_t in = 0, to = 0;
	struct statvfs v;

	assert_int_equal(pwrite(fd, "end", 3, 1 << 20), 3);
	assert_int_equal(lseek(fd, 0, SEEK_DATA), 1 << 20);
	assert_int_equal(lseek(fd, 0, SEEK_HOLE), 0);
	assert_int_equal(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 65536), 0);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 4096), 0);
	assert_int_equal(pread(fd, buf, 3, 1 << 20), 3);
	assert_int_equal(buf[0], 0);
	assert_int_equal(fallocate(fd, 0, 0, 2 << 20), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 2 << 20);
	assert_int_equal(pwrite(fd, "copied", 6, 0), 6);
	assert_int_equal(copy_file_range(fd, &in, out, &to, 6, 0), 6);
	assert_int_equal(pread(out, buf, 6, 0), 6);
	assert_memory_equal(buf, "copied", 6);
	assert_int_equal(fdatasync(out), 0);
	assert_int_equal(statvfs(r->dir, &v), 0);
	assert_true(v.f_blocks > 0 && v.f_namemax == 255);
	close(fd);
	close(out);
}

static void test_append_and_direct(void **state)
{
	struct rig *r = *state;
	int a = open(rig_path(r, "log"), O_CREAT | O_WRONLY | O_APPEND, 0600);
	int b = open(rig_path(r, "log"), O_WRONLY | O_APPEND);
	char buf[8], *page = aligned_alloc(4096, 4096);
	int d;

	assert_int_equal(write(a, "1", 1), 1);
	assert_int_equal(write(b, "2", 1), 1);
	assert_int_equal(write(a, "3", 1), 1);
	assert_int_equal(rig_read(rig_path(r, "log"), buf, 8), 3);
	assert_memory_equal(buf, "123", 3);
	close(a);
	close(b);
	assert_non_null(page);
	memset(page, 'd', 4096);
	d = open(rig_path(r, "direct"), O_CREAT | O_RDWR | O_DIRECT, 0600);
	assert_true(d >= 0);
	assert_int_equal(write(d, page, 4096), 4096);
	memset(page, 0, 4096);
	assert_int_equal(pread(d, page, 4096, 0), 4096);
	assert_int_equal(page[4095], 'd');
	close(d);
	free(page);
}

static void test_ioctl(void **state)
{
	struct rig *r = *state;
	int fd, flags = 0;

	rig_write(rig_path(r, "i"), "i", 1);
	fd = open(rig_path(r, "i"), O_RDWR);
	assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
	flags |= FS_NODUMP_FL;
	assert_int_equal(ioctl(fd, FS_IOC_SETFLAGS, &flags), 0);
	flags = 0;
	assert_int_equal(ioctl(fd, FS_IOC_GETFLAGS, &flags), 0);
	assert_true(flags & FS_NODUMP_FL);
	assert_int_equal(isatty(fd), 0);
	assert_int_equal(errno, ENOTTY);
	assert_int_equal(pread(fd, &flags, 1, 0), 1);	/* still open as before */
	close(fd);
}

static void test_exec(void **state)
{
	struct rig *r = *state;
	char cmd[600];

	snprintf(cmd, sizeof cmd, "cp /bin/true '%s' && '%s'", rig_path(r, "prog"), rig_path(r, "prog"));
	assert_int_equal(system(cmd), 0);
}

/* Inode numbers come back at once on ext4; nodes must not. */
static void test_reuse(void **state)
{
	struct rig *r = *state;
	char buf[16], text[16];

	for (int i = 0; i < 500; i++) {
		snprintf(text, sizeof text, "%d", i);
		rig_write(rig_path(r, i % 2 ? "odd" : "even"), text, strlen(text));
		assert_int_equal(rig_read(rig_path(r, i % 2 ? "odd" : "even"), buf, sizeof buf), (int)strlen(text));
		assert_memory_equal(buf, text, strlen(text));
		assert_int_equal(unlink(rig_path(r, i % 2 ? "odd" : "even")), 0);
	}
}

static void test_no_opens_left(void **state)
{
	struct rig *r = *state;
	struct fusefs_status s;
	int fd[20];

	for (int i = 0; i < 20; i++)
		fd[i] = open(rig_path(r, "same"), O_CREAT | (i % 2 ? O_RDONLY : O_RDWR), 0600);
	fusefs_status(r->f, &s);
	assert_int_equal(s.open_passthrough, s.passthrough ? 20 : 0);
	assert_int_equal(s.open_slow, 0);
	for (int i = 0; i < 20; i++)
		close(fd[i]);
	for (int i = 0; i < 2000; i++) {	/* RELEASE is not waited for by close(2) */
		fusefs_status(r->f, &s);
		if (!s.open_passthrough)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	assert_int_equal(s.open_passthrough, 0);
}

#define BOTH(f) cmocka_unit_test_setup_teardown(f, up_pt, rig_down), \
		{ #f " (plain)", f, up_plain, rig_down, NULL }

int main(void)
{
	static const struct CMUnitTest tests[] = {
		BOTH(test_files), BOTH(test_rename), BOTH(test_odd_names), BOTH(test_readdir),
		BOTH(test_caller_identity), BOTH(test_setattr), BOTH(test_mmap), BOTH(test_unlinked_open),
		BOTH(test_tmpfile), BOTH(test_xattr), BOTH(test_holder_hidden), BOTH(test_ranges),
		BOTH(test_append_and_direct), BOTH(test_ioctl), BOTH(test_exec), BOTH(test_reuse),
		BOTH(test_no_opens_left),
	};

	umask(022);
	return rig_possible() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
