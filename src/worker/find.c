/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "find.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "paths.h"
#include "statedir.h"
#include "text.h"

#define LISTED_BYTES 280	/* of the names in the error line */

static bool below_base(const char *name, const char *base, char state[PATH_MAX])
{
	if (!*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return false;
	return snprintf(state, PATH_MAX, "%s/%s", base, name) < PATH_MAX && statedir_has_catalog(state);
}

static bool by_path(const char *path, char state[PATH_MAX])
{
	char canonical[PATH_MAX];

	if (paths_canonical(path, canonical, NULL))
		return false;
	strcpy(state, canonical);
	if (statedir_has_catalog(state))
		return true;
	statedir_default(canonical, state);
	return statedir_has_catalog(state);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names below base that hold a catalog, sorted; the caller frees them. */
static size_t migrations(const char *base, char ***out)
{
	_cleanup_closedir_ DIR *d = opendir(base);
	char state[PATH_MAX];
	struct dirent *de;
	size_t n = 0;

	*out = NULL;
	while (d && (de = readdir(d))) {
		char **more;

		if (!below_base(de->d_name, base, state))
			continue;
		more = realloc(*out, (n + 1) * sizeof *more);
		if (!more)
			break;
		*out = more;
		more[n] = strdup(de->d_name);
		if (!more[n])
			break;
		n++;
	}
	if (n)
		qsort(*out, n, sizeof **out, by_name);
	return n;
}

static void list(const char *base, char *buf, size_t room)
{
	char **names, clean[1100];
	size_t n = migrations(base, &names), used, told = 0;

	used = (size_t)snprintf(buf, room, n ? "; there are: " : "; there is none");
	for (size_t i = 0; i < n; i++) {
		text_clean(clean, sizeof clean, names[i]);
		if (told == i && used + strlen(clean) + 40 < room) {
			used += (size_t)snprintf(buf + used, room - used, "%s%s", i ? ", " : "", clean);
			told++;
		}
		free(names[i]);
	}
	if (told < n)
		snprintf(buf + used, room - used, "%s%zu more", told ? " and " : "", n - told);
	free(names);
}

int find_state(const char *what, const char *base, char state[PATH_MAX], struct err *e)
{
	char clean[200], others[LISTED_BYTES];

	if (below_base(what, base, state) || by_path(what, state))
		return 0;
	list(base, others, sizeof others);
	return err_set(e, ENOENT, "\"%s\" is no migration: neither a state directory, nor a name below %s, nor a target with its state there%s",
		       text_clean(clean, sizeof clean, what), base, others);
}
