/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "statedir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "paths.h"

#define READABLE_MAX 100

void statedir_default(const char *target, char out[PATH_MAX])
{
	char readable[READABLE_MAX + 1];
	size_t n = 0;

	for (const char *p = target; *p && n < READABLE_MAX; p++) {
		unsigned char c = (unsigned char)*p;
		bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
			     (c >= 'A' && c <= 'Z') || c == '.' || c == '-' || c == '_';

		if (c == '/' && (!n || !p[1]))
			continue;
		readable[n++] = c == '/' ? '-' : plain ? (char)c : '_';
	}
	readable[n] = 0;
	snprintf(out, PATH_MAX, "%s/%s-%016llx", STATEDIR_BASE, readable,
		 (unsigned long long)hash_bytes(target, strlen(target), 0));
}

int statedir_check(const char *dir, const char *target, const char *local_source, struct err *e)
{
	if (paths_inside(dir, target))
		return err_set(e, EINVAL, "the state directory %s is inside the target %s; "
			       "choose another with --state", dir, target);
	if (paths_inside(target, dir))
		return err_set(e, EINVAL, "the target %s is inside the state directory %s; "
			       "choose another with --state", target, dir);
	if (local_source && paths_inside(dir, local_source))
		return err_set(e, EINVAL, "the state directory %s is inside the source %s, which "
			       "is never written to; choose another with --state",
			       dir, local_source);
	return 0;
}

bool statedir_has_catalog(const char *dir)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof path, "%s/catalog.db", dir);
	return !access(path, F_OK);
}

static int sync_dir(const char *dir)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) ? -errno : 0;
}

/* One directory; the parent exists. */
static int make_one(char *path)
{
	char *slash = strrchr(path, '/');
	int r;

	if (mkdir(path, 0700))
		return errno == EEXIST ? 0 : -errno;
	*slash = 0;
	r = sync_dir(slash == path ? "/" : path);
	*slash = '/';
	return r;
}

int statedir_make(const char *dir, struct err *e)
{
	char path[PATH_MAX];
	struct stat st;
	int r = 0;

	snprintf(path, sizeof path, "%s", dir);
	for (char *p = path + 1; !r; p++) {
		char c = *p;

		if (c && c != '/')
			continue;
		*p = 0;
		r = make_one(path);
		*p = c;
		if (!c)
			break;
	}
	if (!r && stat(path, &st))
		r = -errno;
	if (!r && !S_ISDIR(st.st_mode))
		r = -ENOTDIR;
	return r ? err_sys(e, r, "state directory %s", dir) : 0;
}
