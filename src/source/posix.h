/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of the posix back end share. */
#ifndef DMM_SOURCE_POSIX_H
#define DMM_SOURCE_POSIX_H

#include <sys/stat.h>

#include "posix_handle.h"
#include "source.h"

#define POSIX_STATX STATX_BASIC_STATS
#define POSIX_READ_MAX (1u << 20)

/* One per thread: what replies point into. */
struct posix_buffer {
	char *data;		/* POSIX_READ_MAX bytes */
	struct source_entry *entries;	/* POSIX_PAGE of them */
};

#define POSIX_PAGE 1024		/* entries a READDIR reply */

void posix_attr(const struct statx *st, struct source_attr *a);

/* READDIR, complete but for check_finish(); returns 0 or -errno. */
int posix_list(struct posix_handles *h, struct posix_buffer *b, struct source_req *req);

#endif
