/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "fake.h"

bool tree_temp(char *out, size_t size)
{
	const char *base = getenv("TMPDIR");

	snprintf(out, size, "%s/dmm-source-XXXXXX", base ? base : "/tmp");
	return mkdtemp(out) != NULL;
}

static bool put(int dir, const char *name, const void *data, size_t len)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	bool ok = fd >= 0 && write(fd, data, len) == (ssize_t)len;

	if (fd >= 0)
		close(fd);
	return ok;
}

static bool set_time(int dir, const char *name, int64_t sec, long nsec)
{
	struct timespec t[2] = { { sec - 1, nsec }, { sec, nsec } };

	return !utimensat(dir, name, t, AT_SYMLINK_NOFOLLOW);
}

static bool make_files(int d)
{
	char *five = malloc(TREE_FIVE);
	bool ok;
	size_t i;

	for (i = 0; i < TREE_FIVE; i++)
		five[i] = fake_byte(i);
	ok = put(d, "hello", "hello\n", 6) && set_time(d, "hello", 1000000000, 123456789) &&
	     put(d, "empty", "", 0) && put(d, "five", five, TREE_FIVE);
	free(five);
	return ok;
}

static bool make_sparse(int d)
{
	int fd = openat(d, "sparse", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	bool ok = fd >= 0 && !ftruncate(fd, 1ll << 30) && pwrite(fd, "end", 3, (1 << 30) - 3) == 3;

	close(fd);
	return ok;
}

static bool make_links(int d)
{
	char target[SOURCE_LINK_MAX + 1];

	memset(target, 't', sizeof target - 1);
	target[sizeof target - 1] = 0;
	return !mkdirat(d, "a", 0755) && !mkdirat(d, "b", 0755) && put(d, "a/link1", "two names", 9) &&
	       !linkat(d, "a/link1", d, "b/link2", 0) && !symlinkat("no/such/target", d, "dangling") &&
	       !symlinkat("/etc/passwd", d, "absolute") && !symlinkat(target, d, "longest") &&
	       !symlinkat("odd\n\xff", d, "oddlink");
}

static bool make_special(int d)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok = !mknodat(d, "fifo", S_IFIFO | 0620, 0) &&
		  !mknodat(d, "chr", S_IFCHR | 0600, makedev(300, 70000)) &&
		  !mknodat(d, "blk", S_IFBLK | 0660, makedev(7, 1));

	snprintf(a.sun_path, sizeof a.sun_path, "/proc/self/fd/%d/sock", d);
	ok = ok && !bind(s, (void *)&a, sizeof a);
	close(s);
	return ok;
}

static bool make_modes(int d)
{
	return put(d, "suid", "x", 1) && !fchmodat(d, "suid", 06755, 0) &&
	       put(d, "secret", "y", 1) && !fchmodat(d, "secret", 0, 0) &&
	       !mkdirat(d, "sticky", 0755) && !fchmodat(d, "sticky", 01777, 0) &&
	       put(d, "bigids", "z", 1) && !fchownat(d, "bigids", 4294967290u, 4294967290u, 0);
}

static bool make_times(int d, bool wide)
{
	bool ok = put(d, "y1960", "", 0) && set_time(d, "y1960", -315521755, 1) &&
		  put(d, "y1969", "", 0) && set_time(d, "y1969", -1, 999999999) &&
		  put(d, "y1970", "", 0) && set_time(d, "y1970", 0, 0) &&
		  put(d, "y2040", "", 0) && set_time(d, "y2040", 2209086245, 987654321);

	if (ok && wide)
		ok = put(d, "y1902", "", 0) && set_time(d, "y1902", -2145916800, 5) &&
		     put(d, "y2300", "", 0) && set_time(d, "y2300", 10413792000, 6);
	return ok;
}

static bool make_names(int d)
{
	char longest[256];
	static const char *const odd[] = { "new\nline", "\xff\xfe\x80", " space ", "...", "-rf",
					   "a:b*?\"'\\", "\xc3\xa9" };
	size_t i;
	bool ok = !mkdirat(d, "names", 0755);

	memset(longest, 'n', 255);
	longest[255] = 0;
	for (i = 0; i < sizeof odd / sizeof *odd; i++) {
		char path[300];

		snprintf(path, sizeof path, "names/%s", odd[i]);
		ok = ok && put(d, path, odd[i], strlen(odd[i]));
	}
	d = openat(d, "names", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ok = ok && put(d, longest, "long", 4);
	close(d);
	return ok;
}

static bool make_many(int d)
{
	bool ok = !mkdirat(d, "many", 0755);
	char path[64];
	int i;

	for (i = 0; ok && i < TREE_MANY; i++) {
		int n = snprintf(path, sizeof path, "many/file%d", i);

		ok = put(d, path, path + 5, (size_t)n - 5);
	}
	return ok;
}

static bool make_deep(int d)
{
	char name[256];
	bool ok = !mkdirat(d, "deep", 0755);
	int i, at = openat(d, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	memset(name, 'd', 255);
	name[255] = 0;
	for (i = 0; ok && i < TREE_DEEP; i++) {
		int next;

		ok = !mkdirat(at, name, 0755);
		next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		close(at);
		at = next;
	}
	ok = ok && put(at, "bottom", "deep down", 9);
	close(at);
	return ok;
}

bool tree_make(const char *dir, bool wide_times)
{
	int d = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool ok = d >= 0 && make_files(d) && make_sparse(d) && make_links(d) && make_special(d) &&
		  make_modes(d) && make_times(d, wide_times) && make_names(d) && make_many(d) &&
		  make_deep(d) && !mkdirat(d, "emptydir", 0700);

	if (!ok)
		perror("making the tree");
	close(d);
	return ok;
}

static void remove_in(int d)
{
	DIR *dir = fdopendir(d);
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		int sub;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (!unlinkat(d, e->d_name, 0))
			continue;
		sub = openat(d, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub >= 0)
			remove_in(sub);
		unlinkat(d, e->d_name, AT_REMOVEDIR);
	}
	if (dir)
		closedir(dir);
}

void tree_remove(const char *dir)
{
	int d = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (d >= 0)
		remove_in(d);
	rmdir(dir);
}
