/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading /proc/self/mountinfo: it never asks a file system, so it cannot hang on a dead one.
 */
#include "mountinfo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"

/* The kernel writes space, tab, newline and backslash as \ooo. */
static void unescape(char *s)
{
	char *o = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
			*o++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*o++ = *s;
		}
	}
	*o = 0;
}

char *mountinfo_path(const char *dir)
{
	_cleanup_free_ char *copy = strdup(dir), *parent = NULL;
	char *slash, *out = NULL;
	size_t n;

	if (!copy)
		return NULL;
	for (n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
		copy[n - 1] = 0;
	out = realpath(copy, NULL);
	if (out || (errno != ENOTCONN && errno != ECONNABORTED))
		return out;
	slash = strrchr(copy, '/');	/* dead: then the last component is the mount itself */
	if (!slash)
		return NULL;
	*slash = 0;
	parent = realpath(*copy ? copy : "/", NULL);
	if (!parent || asprintf(&out, "%s/%s", strcmp(parent, "/") ? parent : "", slash + 1) < 0)
		return NULL;
	return out;
}

/* "ID PARENT MAJ:MIN ROOT MOUNTPOINT OPTIONS [tags...] - TYPE SOURCE SUPER" */
static int parse(char *line, const char *dir, dev_t *dev)
{
	char *save = NULL, *tok, *point = NULL, *dash = strstr(line, " - ");
	unsigned major = 0, minor = 0;

	if (!dash)
		return -1;
	tok = strtok_r(line, " ", &save);
	for (int i = 0; tok && i < 5; i++, tok = strtok_r(NULL, " ", &save)) {
		if (i == 2 && sscanf(tok, "%u:%u", &major, &minor) != 2)
			return -1;
		if (i == 4)
			point = tok;
	}
	if (!point)
		return -1;
	unescape(point);
	if (strcmp(point, dir))
		return -1;
	*dev = makedev(major, minor);
	dash += 3;
	return !strncmp(dash, MOUNTINFO_TYPE " ", strlen(MOUNTINFO_TYPE) + 1);
}

int mountinfo_ours(const char *dir, dev_t *dev)
{
	_cleanup_fclose_ FILE *s = fopen("/proc/self/mountinfo", "re");
	_cleanup_free_ char *line = NULL;
	size_t cap = 0;
	int ours = 0;

	if (!s)
		return -errno;
	while (getline(&line, &cap, s) > 0) {	/* the last line with this path is on top */
		dev_t d;
		int r = parse(line, dir, &d);

		if (r >= 0) {
			ours = r;
			*dev = d;
		}
	}
	return ours;
}
