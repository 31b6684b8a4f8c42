/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The chunk map against a byte-wise model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "internal.h"

#define MB (1ull << 20)

static void sizes(void **state)
{
	struct content c;

	(void)state;
	assert_int_equal(content_init(&c, 0), 0);
	assert_int_equal(c.count, 0);
	assert_int_equal(c.left, 0);
	assert_true(content_covers(&c, CONTENT_HERE, 0, 100));
	content_free(&c);
	assert_int_equal(content_init(&c, 1), 0);
	assert_int_equal(c.count, 1);
	assert_int_equal(content_end(&c, 0), 1);
	assert_false(content_covers(&c, CONTENT_HERE, 0, 1));
	assert_true(content_covers(&c, CONTENT_HERE, 1, 1));
	content_free(&c);
	assert_int_equal(content_init(&c, 100ull << 30), 0);
	assert_int_equal(c.count, 100 << 10);
	content_free(&c);
	assert_int_equal(content_init(&c, 8ull << 40), 0);	/* 8 TiB: chunks grow */
	assert_true(c.count <= 1 << 20);
	assert_int_equal(content_end(&c, c.count - 1), 8ull << 40);
	content_free(&c);
}

static void limit_and_ranges(void **state)
{
	struct content c;
	uint32_t first, last;

	(void)state;
	assert_int_equal(content_init(&c, 100 * MB + 5), 0);
	assert_int_equal(c.count, 101);
	content_limit(&c, 50 * MB + 1);		/* chunk 50 still has one source byte */
	assert_int_equal(c.left, 51);
	assert_false(content_test(&c, CONTENT_HERE, 50));
	assert_true(content_test(&c, CONTENT_HERE, 51));
	content_limit(&c, 50 * MB);
	assert_int_equal(c.left, 50);
	content_mark_range(&c, MB / 2, 3 * MB);	/* chunk 0 is there in part only */
	assert_int_equal(c.unrecorded, 48);
	assert_false(content_test(&c, CONTENT_RECORDED, 0));
	assert_true(content_span(&c, 3 * MB - 1, 2, &first, &last));
	assert_int_equal(first, 2);
	assert_int_equal(last, 3);
	assert_false(content_span(&c, 100 * MB + 5, 1, &first, &last));
	assert_true(content_span(&c, 0, UINT64_MAX, &first, &last));
	assert_int_equal(last, 100);
	content_free(&c);
}

/* An object that is loaded again after it was finished (a row read before its record) must offer nothing to
 * fetch: a second landing would fall on what applications have written since (D3b, D4). */
static void finished_has_nothing_to_fetch(void **state)
{
	static const uint8_t states[] = { CATALOG_CLEANING, CATALOG_MIGRATED, CATALOG_OVERWRITTEN };

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct catalog_row row = { .oid = 7, .type = CATALOG_REG, .size = 5 * MB, .state = states[i] };
		struct eobj *o = eobj_make(NULL, &row);

		assert_non_null(o);
		assert_true(is_here(o));
		assert_int_equal(o->content.left, 0);
		assert_true(content_covers(&o->content, CONTENT_RECORDED, 0, 5 * MB));
		content_free(&o->content);
		free(o);
	}
}

static void random_model(void **state)
{
	struct content c;
	unsigned char model[200] = { 0 };

	(void)state;
	srand(7);
	assert_int_equal(content_init(&c, 200 * MB - 77), 0);
	for (int i = 0; i < 5000; i++) {
		uint32_t k = (uint32_t)rand() % 200, left = 0;

		if (rand() % 3) {
			content_set_bit(&c, CONTENT_HERE, k);
			model[k] = 1;
		} else {
			content_clear_bit(&c, CONTENT_HERE, k);
			model[k] = 0;
		}
		for (int j = 0; j < 200; j++)
			left += !model[j];
		assert_int_equal(c.left, left);
		assert_int_equal(content_test(&c, CONTENT_HERE, k), model[k]);
	}
	content_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(sizes), cmocka_unit_test(limit_and_ranges),
					    cmocka_unit_test(finished_has_nothing_to_fetch),
					    cmocka_unit_test(random_model) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
