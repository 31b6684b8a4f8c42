/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Durable commits without holding the connection over the flush.
 *
 * COMMIT only writes frames into the WAL.  Under the connection's lock each
 * commit takes the next ticket; then it lets the connection go and waits here
 * until a flush that began after that covers it.  Whoever finds no flush
 * running makes the next one, for all tickets given out when it begins
 * (leader); the others wait for it (followers).  So n committers at once cost at
 * most two flushes, and a reader none.
 *
 * Invariant: durable <= the tickets covered by completed flushes; a ticket is given out after its
 * frames are written, and `ended` is read before the flush begins.
 *
 * A failed flush poisons the catalog for good (D2): the kernel marks the pages clean
 * and a second flush would succeed without them, so nothing may be promised
 * any more and nothing may be copied out of the WAL.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

#include "base/point.h"

void catalog_flush_init(struct catalog_flush *f)
{
	pthread_mutex_init(&f->m, NULL);
	pthread_cond_init(&f->cond, NULL);
}

/* Under conn, after COMMIT. Without frames: everything that this transaction can have seen. */
uint64_t catalog_flush_ticket(struct catalog *c, bool wrote)
{
	if (wrote)
		return atomic_fetch_add(&c->flush.ended, 1) + 1;
	return atomic_load(&c->flush.ended);
}

bool catalog_flush_poisoned(struct catalog *c)
{
	return atomic_load(&c->flush.poisoned);
}

void catalog_flush_poison(struct catalog *c, int err, const char *what)
{
	if (!atomic_exchange(&c->flush.poisoned, true))
		log_error("catalog: %s failed (%s): nothing is recorded any more, "
			  "the worker has to be started again", what, strerrordesc_np(abs(err)));
	pthread_mutex_lock(&c->flush.m);
	pthread_cond_broadcast(&c->flush.cond);
	pthread_mutex_unlock(&c->flush.m);
}

int catalog_flush_file(struct catalog *c, int fd)
{
	int r = POINT_STEP("catalog.flush");

	if (r == POINT_SKIP)
		return 0;
	if (!r)
		r = c->hooks.flush(c->hooks.arg, fd);
	if (r)
		catalog_flush_poison(c, r, "making the catalog durable");
	return r ? -EIO : 0;
}

/* One flush for all that has ended.  flush.m is held on entry and exit. */
static void lead(struct catalog *c)
{
	struct catalog_flush *f = &c->flush;
	uint64_t upto;
	int r;

	f->running = true;
	pthread_mutex_unlock(&f->m);
	upto = atomic_load(&f->ended);
	r = catalog_flush_file(c, c->wal_fd);
	pthread_mutex_lock(&f->m);
	f->running = false;
	if (!r && upto > f->durable)
		f->durable = upto;
	pthread_cond_broadcast(&f->cond);
}

int catalog_flush_wait(struct catalog *c, uint64_t ticket)
{
	struct catalog_flush *f = &c->flush;
	int r = 0;

	pthread_mutex_lock(&f->m);
	while (f->durable < ticket && !atomic_load(&f->poisoned)) {
		if (f->running)
			pthread_cond_wait(&f->cond, &f->m);
		else
			lead(c);
	}
	if (f->durable < ticket || atomic_load(&f->poisoned))
		r = -EIO;
	pthread_mutex_unlock(&f->m);
	return r;
}
