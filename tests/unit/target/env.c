/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "env.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/creds.h"
#include "base/hash.h"

const mode_t env_types[7] = { S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK };

int env_setup(void **state)
{
	struct env *e = *state;
	struct err err = { 0 };

	e->id = (struct target_id){ .migration = "0123456789abcde", .reserved_id = ENV_RESERVED };
	e->t = NULL;
	snprintf(e->dir, sizeof e->dir, "%s/%u", e->mount, ++e->count);
	if (mkdir(e->dir, 0755) || target_open(e->dir, &e->t, &err)) {
		print_error("%s: %s\n", e->dir, err.text);
		return -1;
	}
	target_set_id(e->t, &e->id);
	e->root = target_root_fd(e->t);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int what, struct FTW *ftw)
{
	(void)st, (void)what, (void)ftw;
	return remove(path);
}

int env_teardown(void **state)
{
	struct env *e = *state;

	target_close(e->t);
	creds_set_fs(0, 0);	/* making stubs leaves the thread under the reserved id */
	return nftw(e->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

uint64_t env_random(struct env *e)
{
	return hash_u64(++e->seed);
}

void env_bytes(struct env *e, void *p, size_t n)
{
	unsigned char *b = p;

	while (n--)
		*b++ = (unsigned char)env_random(e);
}

int env_path(int dirfd, const char *name)
{
	int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

void env_file(int dirfd, const char *name)
{
	env_object(dirfd, name, S_IFREG);
}

int env_dir(int dirfd, const char *name)
{
	int fd;

	env_object(dirfd, name, S_IFDIR);
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

struct stat env_stat(int dirfd, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH), 0);
	return st;
}

bool env_exists(int dirfd, const char *name)
{
	return !faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW);
}

unsigned env_entries(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fdopendir(fd);
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

void env_object(int dirfd, const char *name, mode_t type)
{
	int r;

	assert_int_equal(creds_set_fs(0, 0), 0);
	if (S_ISDIR(type))
		r = mkdirat(dirfd, name, 0755);
	else if (S_ISLNK(type))
		r = symlinkat("nowhere", dirfd, name);
	else	/* a device that no driver serves: nothing happens should it be opened */
		r = mknodat(dirfd, name, type | 0644, S_ISCHR(type) || S_ISBLK(type) ? makedev(511, 7) : 0);
	assert_int_equal(r, 0);
}
