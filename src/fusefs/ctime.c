/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ctime.h"

#include <fcntl.h>
#include <stdlib.h>

#include "internal.h"

static bool same(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Under node_lock(): the node's record, made when an incomplete object is met first. */
static struct ctime *record(struct node *n, struct eobj *o, const struct timespec *real,
			    const struct stat *st)
{
	if (!n->ctime && o) {
		n->ctime = calloc(1, sizeof *n->ctime);
		if (n->ctime)
			*n->ctime = (struct ctime){ .shown = st->st_ctim, .real = *real };
	}
	return n->ctime;
}

void ctime_show(struct fusefs *f, struct node *n, struct eobj *o, const struct timespec *real,
		struct stat *st)
{
	pthread_mutex_t *m = node_lock(f->nodes, n);
	bool incomplete = o && !access_complete(o);
	struct ctime *c;

	pthread_mutex_lock(m);
	c = record(n, o, real, st);
	st->st_ctim = *real;
	if (c && n->flags & NODE_WRITTEN) {	/* the kernel writes without telling us */
		free(c);
		n->ctime = NULL;
	} else if (c) {
		if (c->touched || (!incomplete && !same(&c->real, real)))
			c->shown = *real;
		c->touched = false;
		c->real = *real;
		st->st_ctim = c->shown;
	}
	pthread_mutex_unlock(m);
}

void ctime_touched(struct fusefs *f, struct node *n)
{
	pthread_mutex_t *m = node_lock(f->nodes, n);

	pthread_mutex_lock(m);
	if (n->ctime)
		n->ctime->touched = true;
	pthread_mutex_unlock(m);
}

void ctime_touched_handle(struct fusefs *f, const struct target_handle *h)
{
	struct node *n = node_by_id(f->nodes, node_find(f->nodes, h));

	if (n)
		ctime_touched(f, n);
}

void ctime_dmm_changed(struct fusefs *f, struct node *n)
{
	pthread_mutex_t *m = node_lock(f->nodes, n);
	struct stat st;
	bool known;
	int fd;

	pthread_mutex_lock(m);
	known = n->ctime;
	pthread_mutex_unlock(m);
	if (!known)
		return;
	fd = attr_open_node(f, n, O_PATH);
	if (fd < 0)
		return;
	if (!fstat(fd, &st)) {
		pthread_mutex_lock(m);
		if (n->ctime && !n->ctime->touched)
			n->ctime->real = st.st_ctim;
		pthread_mutex_unlock(m);
	}
	close(fd);
}
