/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Intrusive doubly linked list; a head is a node that points at itself. */
#ifndef DMM_BASE_LIST_H
#define DMM_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *prev, *next;
};

#define list_entry(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

static inline void list_init(struct list *h)
{
	h->prev = h->next = h;
}
static inline bool list_empty(const struct list *h)
{
	return h->next == h;
}
static inline void list_append(struct list *h, struct list *n)
{
	n->prev = h->prev;
	n->next = h;
	h->prev->next = n;
	h->prev = n;
}
static inline void list_prepend(struct list *h, struct list *n)
{
	list_append(h->next, n);
}
/* Unlink and make the node a list of its own, so that a second remove is harmless. */
static inline void list_remove(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}
static inline struct list *list_pop(struct list *h)
{
	struct list *n = h->next;

	if (n == h)
		return NULL;
	list_remove(n);
	return n;
}
/* Move everything from src to the end of dst; src is empty afterwards. */
static inline void list_splice(struct list *dst, struct list *src)
{
	if (list_empty(src))
		return;
	src->next->prev = dst->prev;
	dst->prev->next = src->next;
	src->prev->next = dst;
	dst->prev = src->prev;
	list_init(src);
}

#endif
