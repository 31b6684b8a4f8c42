/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Content that comes in order, in pieces of any size, cut into the chunks of base/checksum.h.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "verify.h"

static void begin_chunk(struct verify_sum *s)
{
	checksum_stream_restart(s->stream, checksum_seed(s->chunks, (uint32_t)(s->pos >> s->shift)));
}

int verify_sum_init(struct verify_sum *s, uint64_t size)
{
	memset(s, 0, sizeof *s);
	s->size = size;
	s->shift = checksum_shift(size);
	s->chunks = checksum_chunks(size);
	s->stream = checksum_stream_new(checksum_seed(s->chunks, 0));
	return s->stream ? 0 : -ENOMEM;
}

void verify_sum_resume(struct verify_sum *s, uint64_t pos, const uint8_t sum[CHECKSUM_SIZE])
{
	assert(pos < s->size && !(pos & ((1ull << s->shift) - 1)));
	s->pos = pos;
	memcpy(s->sum, sum, sizeof s->sum);
	begin_chunk(s);
}

bool verify_sum_at_chunk(const struct verify_sum *s)
{
	return !(s->pos & ((1ull << s->shift) - 1));
}

static void end_chunk(struct verify_sum *s)
{
	uint8_t one[CHECKSUM_SIZE];

	checksum_stream_digest(s->stream, one);
	checksum_add(s->sum, one);	/* of a single chunk: 0 + itself */
	if (s->pos < s->size)
		begin_chunk(s);
}

/* data NULL: zeros */
static void feed(struct verify_sum *s, const char *data, uint64_t n)
{
	while (n) {
		uint64_t end = ((s->pos >> s->shift) + 1) << s->shift, piece;

		if (end > s->size)
			end = s->size;
		piece = end - s->pos < n ? end - s->pos : n;
		assert(piece);
		if (data) {
			checksum_stream_update(s->stream, data, piece);
			data += piece;
		} else {
			checksum_stream_zeros(s->stream, piece);
		}
		s->pos += piece;
		n -= piece;
		if (s->pos == end)
			end_chunk(s);
	}
}

void verify_sum_data(struct verify_sum *s, const void *data, uint64_t n)
{
	feed(s, data, n);
}

void verify_sum_zeros(struct verify_sum *s, uint64_t n)
{
	feed(s, NULL, n);
}

void verify_sum_end(struct verify_sum *s, uint8_t out[CHECKSUM_SIZE])
{
	assert(s->pos == s->size);
	if (!s->size)
		checksum_stream_digest(s->stream, out);
	else
		memcpy(out, s->sum, CHECKSUM_SIZE);
}

void verify_sum_free(struct verify_sum *s)
{
	checksum_stream_free(s->stream);
	s->stream = NULL;
}
