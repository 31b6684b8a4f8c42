/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Checksums of contents: chunking, order, pieces, sums. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/checksum.h"
#include "base/size.h"

static void chunk_sizes(void **state)
{
	(void)state;
	assert_int_equal(checksum_chunks(0), 0);
	assert_int_equal(checksum_chunks(1), 1);
	assert_int_equal(checksum_chunks(MIB(1)), 1);
	assert_int_equal(checksum_chunks(MIB(1) + 1), 2);
	assert_int_equal(checksum_shift(MIB(1) * 1000), 20);
	assert_true(checksum_chunks(MIB(1) * 1024 * 1024 * 8) <= 1 << 20);	/* 8 TiB */
	assert_true(checksum_chunks(INT64_MAX) <= 1 << 20);
	assert_int_equal(checksum_seed(1, 0), 0);
	assert_int_equal(checksum_seed(2, 0), 1);
	assert_int_equal(checksum_seed(2, 1), 2);
}

/* What `printf abc | xxh128sum` prints: the canonical form of XXH3-128. */
static void plain_xxh128(void **state)
{
	static const uint8_t abc[16] = { 0x06, 0xb0, 0x5a, 0xb6, 0x73, 0x3a, 0x61, 0x85,
					 0x78, 0xaf, 0x5f, 0x94, 0x89, 0x2f, 0x39, 0x50 };
	uint8_t sum[16];

	(void)state;
	checksum_of("abc", 3, 0, sum);
	assert_memory_equal(sum, abc, 16);
}

static void pieces(void **state)
{
	static char data[200000];
	struct checksum_stream *s = checksum_stream_new(7);
	uint8_t whole[16], sum[16], other[16];

	(void)state;
	memset(data + 5, 'x', 1000);
	checksum_of(data, sizeof data, 7, whole);
	checksum_stream_update(s, data, 500);
	checksum_stream_update(s, data + 500, 1000);
	checksum_stream_zeros(s, sizeof data - 1500);
	checksum_stream_digest(s, sum);
	assert_memory_equal(sum, whole, 16);
	checksum_of(data, sizeof data, 8, other);
	assert_memory_not_equal(other, whole, 16);
	checksum_stream_restart(s, 8);
	checksum_stream_update(s, data, sizeof data);
	checksum_stream_digest(s, sum);
	assert_memory_equal(sum, other, 16);
	checksum_stream_free(s);
}

static void sums(void **state)
{
	uint8_t a[16] = { 0 }, b[16], c[16];

	(void)state;
	memset(b, 0xff, sizeof b);
	a[15] = 1;
	checksum_add(a, b);		/* 1 + (2^128 - 1) = 0 */
	for (int i = 0; i < 16; i++)
		assert_int_equal(a[i], 0);
	checksum_of("one", 3, 1, a);
	checksum_of("two", 3, 2, b);
	memcpy(c, a, 16);
	checksum_add(c, b);
	checksum_add(b, a);
	assert_memory_equal(b, c, 16);	/* in any order */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chunk_sizes), cmocka_unit_test(plain_xxh128), cmocka_unit_test(pieces),
		cmocka_unit_test(sums),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
