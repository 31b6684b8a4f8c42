/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Node table: chunks of nodes, a hash over handles, a free list.
 *
 * Invariant: a node is in the hash exactly while nlookup > 0 (the root
 * always).  Chunks are never moved or freed while the table lives, so a pointer to a
 * node stays valid as long as the kernel may name it; only interning and forgetting
 * take the table's lock.  A node that is reused gets a new generation, so that
 * (id, generation) never repeats.
 *
 * Left out: giving chunks back.  The kernel's own inodes, which are 10 times as large,
 * bound their number.
 */
#include "node.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

#define CHUNK_NODES 4096u
#define MAX_CHUNKS (1u << 18)		/* 2^30 nodes */
#define STRIPES 64

struct node_table {
	pthread_mutex_t lock;		/* hash, free list, counts */
	pthread_mutex_t stripe[STRIPES];
	_Atomic(struct node *) *chunk;
	uint32_t *bucket;
	uint32_t mask;
	uint32_t used;			/* ids handed out so far */
	uint32_t free;			/* head of the free list */
	uint64_t count;
	uint32_t generation;
};

static struct node *at(struct node_table *t, uint32_t id)
{
	struct node *c = atomic_load_explicit(&t->chunk[id / CHUNK_NODES], memory_order_acquire);

	return c ? &c[id % CHUNK_NODES] : NULL;
}

static uint32_t hash(const struct target_handle *h)
{
	return (uint32_t)hash_bytes(h, sizeof *h, 0);
}

static int fresh_id(struct node_table *t, uint32_t *id)
{
	uint32_t n = t->used;

	if (t->free) {
		*id = t->free;
		t->free = at(t, *id)->next;
		return 0;
	}
	if (n / CHUNK_NODES >= MAX_CHUNKS)
		return -ENFILE;
	if (!at(t, n)) {
		struct node *c = calloc(CHUNK_NODES, sizeof *c);

		if (!c)
			return -ENOMEM;
		atomic_store_explicit(&t->chunk[n / CHUNK_NODES], c, memory_order_release);
	}
	t->used++;
	*id = n;
	return 0;
}

static void hash_in(struct node_table *t, uint32_t id)
{
	struct node *n = at(t, id);
	uint32_t b = hash(&n->handle) & t->mask;

	n->next = t->bucket[b];
	t->bucket[b] = id;
}

static void hash_out(struct node_table *t, uint32_t id)
{
	uint32_t *p = &t->bucket[hash(&at(t, id)->handle) & t->mask];

	while (*p != id)
		p = &at(t, *p)->next;
	*p = at(t, id)->next;
}

/* Keeps the chains short; a table that cannot grow only gets slower. */
static void grow(struct node_table *t)
{
	uint32_t mask = t->mask * 2 + 1;
	uint32_t *b = calloc((size_t)mask + 1, sizeof *b), *old = t->bucket;

	if (!b)
		return;
	t->bucket = b;
	for (uint32_t i = 0, om = t->mask; i <= om; i++)
		for (uint32_t id = old[i], next; id; id = next) {
			next = at(t, id)->next;
			t->mask = mask;
			hash_in(t, id);
		}
	t->mask = mask;
	free(old);
}

static uint32_t find(struct node_table *t, const struct target_handle *h)
{
	uint32_t id = t->bucket[hash(h) & t->mask];

	while (id && !target_handle_equal(&at(t, id)->handle, h))
		id = at(t, id)->next;
	return id;
}

static int insert(struct node_table *t, const struct target_handle *h, uint32_t *id)
{
	int r = fresh_id(t, id);
	struct node *n;

	if (r)
		return r;
	n = at(t, *id);
	memset(n, 0, sizeof *n);
	n->handle = *h;
	n->generation = ++t->generation;
	hash_in(t, *id);
	if (++t->count > t->mask)
		grow(t);
	return 0;
}

int node_table_new(const struct target_handle *root, struct node_table **out)
{
	struct node_table *t = calloc(1, sizeof *t);
	uint32_t id;

	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	for (int i = 0; i < STRIPES; i++)
		pthread_mutex_init(&t->stripe[i], NULL);
	t->chunk = calloc(MAX_CHUNKS, sizeof *t->chunk);
	t->mask = 1023;
	t->bucket = calloc(t->mask + 1, sizeof *t->bucket);
	t->used = 1;			/* 0 is no node, 1 will be the root */
	if (!t->chunk || !t->bucket || insert(t, root, &id)) {
		node_table_free(t);
		return -ENOMEM;
	}
	at(t, id)->nlookup = 1;
	*out = t;
	return 0;
}

void node_table_free(struct node_table *t)
{
	if (!t)
		return;
	for (uint32_t i = 1; t->chunk && i < t->used; i++) {
		access_put(at(t, i)->eobj);
		free(at(t, i)->ctime);
	}
	for (uint32_t i = 0; t->chunk && i < MAX_CHUNKS && t->chunk[i]; i++)
		free(t->chunk[i]);
	free(t->chunk);
	free(t->bucket);
	for (int i = 0; i < STRIPES; i++)
		pthread_mutex_destroy(&t->stripe[i]);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

struct node *node_by_id(struct node_table *t, uint64_t id)
{
	struct node *n;

	if (!id || id >= (uint64_t)MAX_CHUNKS * CHUNK_NODES)
		return NULL;
	n = at(t, (uint32_t)id);
	return n && n->handle.len ? n : NULL;
}

int node_intern(struct node_table *t, const struct target_handle *h, uint64_t *id)
{
	uint32_t i;
	int r = 0;

	pthread_mutex_lock(&t->lock);
	i = find(t, h);
	if (!i)
		r = insert(t, h, &i);
	if (!r)
		at(t, i)->nlookup++;
	pthread_mutex_unlock(&t->lock);
	*id = i;
	return r;
}

uint64_t node_find(struct node_table *t, const struct target_handle *h)
{
	uint32_t i;

	pthread_mutex_lock(&t->lock);
	i = find(t, h);
	pthread_mutex_unlock(&t->lock);
	return i;
}

void node_forget(struct node_table *t, uint64_t id, uint64_t k)
{
	struct node *n = node_by_id(t, id);
	struct eobj *o = NULL;
	struct ctime *ctime = NULL;

	if (!n || id == 1)
		return;
	pthread_mutex_lock(&t->lock);
	n->nlookup = k < n->nlookup ? n->nlookup - k : 0;
	if (!n->nlookup && n->handle.len) {
		hash_out(t, (uint32_t)id);
		/* ctime.c reaches nodes that are not counted, too */
		pthread_mutex_lock(node_lock(t, n));
		o = n->eobj;
		ctime = n->ctime;
		memset(n, 0, sizeof *n);
		pthread_mutex_unlock(node_lock(t, n));
		n->next = t->free;
		t->free = (uint32_t)id;
		t->count--;
	}
	pthread_mutex_unlock(&t->lock);
	access_put(o);
	free(ctime);
}

uint64_t node_count(struct node_table *t)
{
	uint64_t n;

	pthread_mutex_lock(&t->lock);
	n = t->count;
	pthread_mutex_unlock(&t->lock);
	return n;
}

uint64_t node_limit(struct node_table *t)
{
	uint64_t n;

	pthread_mutex_lock(&t->lock);
	n = t->used;
	pthread_mutex_unlock(&t->lock);
	return n;
}

pthread_mutex_t *node_lock(struct node_table *t, const struct node *n)
{
	return &t->stripe[((uintptr_t)n / sizeof *n) % STRIPES];
}

struct eobj *node_object(struct node_table *t, struct node *n)
{
	pthread_mutex_t *m = node_lock(t, n);
	struct eobj *o, *done = NULL;

	pthread_mutex_lock(m);
	o = n->eobj;
	if (o && access_complete(o)) {
		done = o;
		n->eobj = o = NULL;
		n->flags |= NODE_COMPLETE;
	}
	if (o)
		o = access_ref(o);
	pthread_mutex_unlock(m);
	access_put(done);
	return o;
}

void node_set_object(struct node_table *t, struct node *n, struct eobj *o)
{
	pthread_mutex_t *m = node_lock(t, n);
	struct eobj *spare = NULL;

	pthread_mutex_lock(m);
	if (!o)
		n->flags |= NODE_COMPLETE;
	else if (n->eobj || n->flags & NODE_COMPLETE)
		spare = o;
	else
		n->eobj = o;
	pthread_mutex_unlock(m);
	access_put(spare);
}
