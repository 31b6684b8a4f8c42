/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Quarantined objects at a user's request (D7): the source's present version is accepted (accept.c), or the object is
 * given up (giveup.c).  quarantine.c looks at the object first, and is the way in.
 *
 * All run in the caller's thread and block; one at a time (engine.retry_mu).
 */
#ifndef DMM_ENGINE_QUARANTINE_H
#define DMM_ENGINE_QUARANTINE_H

#include "ask.h"

#define STATE_BIT(s) (1u << (s))

struct quarantine {
	struct engine *en;
	struct catalog_row row;
	struct eobj *o;			/* NULL: it never had a stub */
	struct source_fh fh;		/* what the source has now */
	struct source_attr attr;
	char link[SOURCE_LINK_MAX + 1];
	struct eobj *dir;		/* its source directory, and that opened */
	int dirfd;
	int code;			/* why it was quarantined */
	char reason[600];
	char text[400];			/* why not, or what has been done */
};


int accept_now(struct quarantine *t);
int give_up_now(struct quarantine *t);

/* Leaves a line for the user; returns code. */
int quarantine_say(struct quarantine *t, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same with the errno's text, if r is one. */
int quarantine_failed(struct quarantine *t, int r, const char *what);

bool quarantine_stub_is_there(struct quarantine *t);
/* Is the stub under its source name?  1, 0 = the name is free, -EEXIST = somebody else's, -errno */
int quarantine_at_its_name(struct quarantine *t);
/* Has an application changed the content, as far as anybody can know? */
bool quarantine_touched(struct quarantine *t);

/* End a transaction: r is how far it got. */
int quarantine_commit(struct quarantine *t, int r);
/* From here on no start takes the object up by itself: see retry_quarantined(). */
int quarantine_begun(struct quarantine *t, bool drop_ranges, const char *text);

#endif
