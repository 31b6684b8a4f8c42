/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the catalog's tests share: a scratch directory, a catalog in it, rows. */
#ifndef TESTS_CATALOG_HELP_H
#define TESTS_CATALOG_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "catalog/internal.h"

struct help {
	char dir[64];
	struct catalog_hooks hooks;
	struct catalog_identity id;
	struct catalog *c;
};

int help_setup(void **state);		/* a fresh catalog */
int help_teardown(void **state);	/* closes it and removes the directory */

int help_open(struct help *h, bool create, bool *created, struct err *e);	/* with h->hooks */
void help_reopen(struct help *h);
void help_sql(struct help *h, const char *sql);		/* on the open connection */
int64_t help_value(struct help *h, const char *sql);

/* A regular file in FOUND with everything set that an NFS server says. */
void help_row(struct catalog_row *row, uint64_t oid, uint64_t parent, const char *name);
void help_add(struct help *h, const struct catalog_row *row);	/* in a transaction of its own */
void help_row_equal(const struct catalog_row *a, const struct catalog_row *b);
/* A catalog of every kind of row and entry, possible in every respect; catalog_check() has nothing to say. */
void help_fill(struct help *h);
/* What catalog_check() says, a line each ("OID: text"); the number of lines. */
unsigned help_problems(struct help *h, char *text, size_t n);
/* Does the ledger in memory equal what the rows say, and what the file says? */
void help_check_ledger(struct help *h);

#endif
