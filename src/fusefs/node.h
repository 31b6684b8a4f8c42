/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The inodes that the kernel knows.
 *
 * A node is a target file handle, never a descriptor: 88 bytes each, and no
 * descriptor limit (DESIGN §4).  Node ids are indices into a chunked table,
 * so that a table in shared memory can replace this one for takeover (§5).
 *
 * Life: a node lives while its lookup count is positive.  The count is raised
 * before the reply that tells the kernel about the node and lowered by
 * FORGET, so it can only err high.  The kernel sends no request for a
 * node that it has forgotten, so handlers use a node without a count of
 * their own.  Node 1 is the root and lives for ever.
 *
 * Threads: every function from any thread.  node_lock() gives a striped lock for
 * the fields below it; hold it for moments only and only one at a time.
 */
#ifndef DMM_FUSEFS_NODE_H
#define DMM_FUSEFS_NODE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/access.h"
#include "target/target.h"

enum {
	NODE_WRITTEN = 1,	/* was opened for writing in passthrough: attributes are never cached again (FACTS) */
	NODE_SLOW = 2,		/* was opened in slow mode: no page cache of it can be trusted to be current */
	NODE_COMPLETE = 4,	/* seen without a mark, or its object has completed: one-way (D4) */
};

struct opens;		/* open.h */
struct lock_owner;	/* lock.c */
struct ctime;		/* ctime.h */

struct node {
	struct target_handle handle;
	_Atomic uint8_t flags;	/* NODE_*; set under node_lock(), read anywhere */
	uint8_t spare;
	uint32_t next;		/* hash chain; free list */
	uint32_t generation;
	uint64_t nlookup;	/* under the table's lock */
	/* under node_lock() */
	struct eobj *eobj;	/* while the object is incomplete */
	struct opens *opens;	/* while it is open */
	struct lock_owner *locks; /* while somebody locks it */
	struct ctime *ctime;	/* of an inode that was incomplete when it was met */
};

struct node_table;

int node_table_new(const struct target_handle *root, struct node_table **out);
void node_table_free(struct node_table *t);	/* drops the eobj references left */

/* The node with this id, NULL when the id is not in use. */
struct node *node_by_id(struct node_table *t, uint64_t id);
/* Find or make the node of an inode and raise its lookup count by one.  0 or -ENOMEM/-ENFILE. */
int node_intern(struct node_table *t, const struct target_handle *h, uint64_t *id);
/* The id of a known inode, or 0. */
uint64_t node_find(struct node_table *t, const struct target_handle *h);
void node_forget(struct node_table *t, uint64_t id, uint64_t n);
uint64_t node_count(struct node_table *t);
uint64_t node_limit(struct node_table *t);	/* all ids are below */

pthread_mutex_t *node_lock(struct node_table *t, const struct node *n);

/* A reference to the node's object, NULL when complete (then forgotten for good). */
struct eobj *node_object(struct node_table *t, struct node *n);
/* Give the node an object; consumes the reference.  NULL: known to be complete. */
void node_set_object(struct node_table *t, struct node *n, struct eobj *o);

#endif
