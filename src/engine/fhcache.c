/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Source handles of objects seen lately, by oid.
 *
 * Handles are not kept in the catalog (they would double its size); what has fallen out of
 * this cache is found again by walking the source path (resolve.c).
 * Fixed size (about 9 MiB), four ways per set, round-robin replacement.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "internal.h"

enum { SETS = 1 << 14, WAYS = 4 };

struct slot {
	uint64_t oid;
	struct source_fh fh;
};

struct fhcache {
	pthread_mutex_t mu;
	uint8_t turn[SETS];
	struct slot slot[SETS][WAYS];
};

struct fhcache *fhcache_new(void)
{
	struct fhcache *c = calloc(1, sizeof *c);

	if (c)
		pthread_mutex_init(&c->mu, NULL);
	return c;
}

void fhcache_free(struct fhcache *c)
{
	if (!c)
		return;
	pthread_mutex_destroy(&c->mu);
	free(c);
}

static struct slot *find(struct fhcache *c, uint64_t oid, size_t *set)
{
	*set = hash_u64(oid) % SETS;
	for (int i = 0; i < WAYS; i++)
		if (c->slot[*set][i].oid == oid)
			return &c->slot[*set][i];
	return NULL;
}

bool fhcache_get(struct fhcache *c, uint64_t oid, struct source_fh *out)
{
	struct slot *s;
	size_t set;

	pthread_mutex_lock(&c->mu);
	s = find(c, oid, &set);
	if (s)
		*out = s->fh;
	pthread_mutex_unlock(&c->mu);
	return s;
}

void fhcache_put(struct fhcache *c, uint64_t oid, const struct source_fh *fh)
{
	struct slot *s;
	size_t set;

	pthread_mutex_lock(&c->mu);
	s = find(c, oid, &set);
	if (!s)
		s = &c->slot[set][c->turn[set]++ % WAYS];
	s->oid = oid;
	s->fh.len = fh->len;
	memcpy(s->fh.data, fh->data, fh->len);
	pthread_mutex_unlock(&c->mu);
}

void fhcache_drop(struct fhcache *c, uint64_t oid)
{
	struct slot *s;
	size_t set;

	pthread_mutex_lock(&c->mu);
	s = find(c, oid, &set);
	if (s)
		s->oid = 0;
	pthread_mutex_unlock(&c->mu);
}
