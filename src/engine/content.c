/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The map of one regular file: which chunks are asked for, landing, here, recorded.
 *
 * Chunks are 1 MiB up to 1 TiB, so that a cold read in the middle of a huge file moves little
 * (a READ is at most 1 MiB, FACTS); beyond that they grow so that a set
 * never has more than a million bits.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { CHUNK_SHIFT = 20, MAX_CHUNKS = 1 << 20 };

int content_init(struct content *c, uint64_t size)
{
	size_t words;

	memset(c, 0, sizeof *c);
	c->size = size;
	c->shift = CHUNK_SHIFT;
	while (size >> c->shift >= MAX_CHUNKS)
		c->shift++;
	c->count = (uint32_t)((size + (1ull << c->shift) - 1) >> c->shift);
	c->left = c->unrecorded = c->count;
	words = (c->count + 63) / 64;
	for (int s = 0; s < CONTENT_SETS; s++)
		c->set[s] = &c->small[s];
	if (words <= 1)
		return 0;
	for (int s = 0; s < CONTENT_SETS; s++) {
		c->set[s] = calloc(words, sizeof *c->set[s]);
		if (!c->set[s]) {
			while (s--)
				free(c->set[s]);
			memset(c, 0, sizeof *c);
			return -ENOMEM;
		}
	}
	return 0;
}

void content_free(struct content *c)
{
	for (int s = 0; s < CONTENT_SETS; s++)
		if (c->set[s] != &c->small[s])
			free(c->set[s]);
}

bool content_test(const struct content *c, enum content_set s, uint32_t i)
{
	return c->set[s][i / 64] >> (i % 64) & 1;
}

void content_set_bit(struct content *c, enum content_set s, uint32_t i)
{
	if (content_test(c, s, i))
		return;
	c->set[s][i / 64] |= 1ull << (i % 64);
	if (s == CONTENT_HERE)
		c->left--;
	if (s == CONTENT_RECORDED)
		c->unrecorded--;
}

void content_clear_bit(struct content *c, enum content_set s, uint32_t i)
{
	if (!content_test(c, s, i))
		return;
	c->set[s][i / 64] &= ~(1ull << (i % 64));
	if (s == CONTENT_HERE)
		c->left++;
	if (s == CONTENT_RECORDED)
		c->unrecorded++;
}

uint64_t content_start(const struct content *c, uint32_t i)
{
	return (uint64_t)i << c->shift;
}

uint64_t content_end(const struct content *c, uint32_t i)
{
	uint64_t end = ((uint64_t)i + 1) << c->shift;

	return end < c->size ? end : c->size;
}

bool content_span(const struct content *c, uint64_t off, uint64_t len, uint32_t *first, uint32_t *last)
{
	uint64_t end = off + len < off ? UINT64_MAX : off + len;

	if (end > c->size)
		end = c->size;
	if (off >= end)
		return false;
	*first = (uint32_t)(off >> c->shift);
	*last = (uint32_t)((end - 1) >> c->shift);
	return true;
}

bool content_covers(const struct content *c, enum content_set s, uint64_t off, uint64_t len)
{
	uint32_t first, last;

	if (!content_span(c, off, len, &first, &last))
		return true;
	for (uint32_t i = first; i <= last; i++)
		if (!content_test(c, s, i))
			return false;
	return true;
}

void content_limit(struct content *c, uint64_t limit)
{
	for (uint32_t i = c->count; i-- && content_start(c, i) >= limit;) {
		content_set_bit(c, CONTENT_HERE, i);
		content_set_bit(c, CONTENT_RECORDED, i);
	}
}

void content_mark_range(struct content *c, uint64_t start, uint64_t end)
{
	uint32_t first, last;

	if (end <= start || !content_span(c, start, end - start, &first, &last))
		return;
	for (uint32_t i = first; i <= last; i++)
		if (content_start(c, i) >= start && content_end(c, i) <= end) {
			content_set_bit(c, CONTENT_HERE, i);
			content_set_bit(c, CONTENT_RECORDED, i);
		}
}
