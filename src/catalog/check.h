/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the two halves of catalog_check() share: catalog_check.c walks the tables, catalog_check_row.c judges a row. */
#ifndef DMM_CATALOG_CHECK_H
#define DMM_CATALOG_CHECK_H

#include "internal.h"

struct check {
	struct catalog *c;
	void (*problem)(void *arg, uint64_t oid, const char *text);
	void *arg;
	sqlite3_stmt *name, *alias;	/* is this entry there? */
	struct catalog_counters counted;
	uint64_t rows, hardlinks, max_oid;
};

void catalog_check_say(struct check *k, uint64_t oid, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The statement stands on a row of `object`.  0, or -errno when it could not be judged. */
int catalog_check_row(struct check *k, sqlite3_stmt *s);

#endif
