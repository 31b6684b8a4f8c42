/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What every back end and decorator shares: the checks that source.h promises
 * for replies ("Trust"), and the one way to finish a request.
 *
 * Threads: all functions are reentrant.
 */
#ifndef DMM_SOURCE_CHECK_H
#define DMM_SOURCE_CHECK_H

#include <stddef.h>

#include "base/list.h"
#include "source.h"

/* May this be the name of a directory entry?  1..255 bytes, no '/', no NUL, not "." or "..". */
bool check_name(const char *name, size_t len);

/* Count an entry that is not delivered, and keep a printable form of its name. */
void check_bad_entry(struct source_req *req, const char *name, size_t len);

/* Times and sizes that a Linux file system can hold at all.  0 or -EPROTO. */
int check_attr(const struct source_attr *a);

/* Reset the out fields; whoever takes a request in hand does it before work starts. */
void check_reset(struct source_req *req);

/*
 * Set err, check the reply's side of the contract (a breach is a bug of the
 * back end: abort), call done().  The request belongs to its submitter afterwards.
 */
void check_finish(struct source_req *req, int err);

/* A request in hand can stand in a list through its first two hooks. */
static inline struct list *check_link(struct source_req *req)
{
	return (struct list *)(void *)req->hook;
}
static inline struct source_req *check_from_link(struct list *l)
{
	return list_entry(l, struct source_req, hook);
}

#endif
