/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The map of one regular file: which chunks are asked for, landing, here, recorded, and their
 * checksums.  base/checksum.h says how a file is cut.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

int content_init(struct content *c, uint64_t size)
{
	size_t words;

	memset(c, 0, sizeof *c);
	c->size = size;
	c->shift = (uint8_t)checksum_shift(size);
	c->count = checksum_chunks(size);
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
	if (c->sums != c->small_sum)
		free(c->sums);
}

void content_set_sum(struct content *c, uint32_t i, const uint8_t sum[CHECKSUM_SIZE])
{
	if (!c->sums)
		c->sums = c->count == 1 ? c->small_sum : calloc(c->count, sizeof *c->sums);
	if (!c->sums)
		return;
	memcpy(c->sums[i], sum, CHECKSUM_SIZE);
	content_set_bit(c, CONTENT_HASHED, i);
}

const uint8_t *content_sum(const struct content *c, uint32_t i)
{
	return content_test(c, CONTENT_HASHED, i) ? c->sums[i] : NULL;
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
