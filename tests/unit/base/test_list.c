/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The intrusive list: order, removal, splicing; and that hashes are what the catalog stored. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/list.h"

struct item {
	int value;
	struct list link;
};

/* The values in order, forwards and backwards, as one number each. */
static void expect(struct list *h, int forwards, int backwards)
{
	int f = 0, b = 0;

	for (struct list *n = h->next; n != h; n = n->next)
		f = f * 10 + list_entry(n, struct item, link)->value;
	for (struct list *n = h->prev; n != h; n = n->prev)
		b = b * 10 + list_entry(n, struct item, link)->value;
	assert_int_equal(f, forwards);
	assert_int_equal(b, backwards);
}

static void test_list(void **state)
{
	struct item i[5] = { { .value = 1 }, { .value = 2 }, { .value = 3 }, { .value = 4 }, { .value = 5 } };
	struct list h, g;

	(void)state;
	list_init(&h);
	list_init(&g);
	assert_true(list_empty(&h));
	assert_null(list_pop(&h));
	list_append(&h, &i[0].link);
	list_append(&h, &i[1].link);
	list_prepend(&h, &i[2].link);
	expect(&h, 312, 213);
	list_remove(&i[0].link);
	list_remove(&i[0].link);	/* harmless */
	assert_true(list_empty(&i[0].link));
	expect(&h, 32, 23);
	list_splice(&h, &g);		/* nothing */
	expect(&h, 32, 23);
	list_append(&g, &i[3].link);
	list_append(&g, &i[4].link);
	list_splice(&h, &g);
	assert_true(list_empty(&g));
	expect(&h, 3245, 5423);
	list_splice(&g, &h);		/* into an empty one */
	assert_true(list_empty(&h));
	expect(&g, 3245, 5423);
	assert_ptr_equal(list_pop(&g), &i[2].link);
	assert_true(list_empty(&i[2].link));
	expect(&g, 245, 542);
}

/* Stored in catalogs: must never change. */
static void test_hash_is_stable(void **state)
{
	static const char name[] = "odd \xff\n name";

	(void)state;
	assert_int_equal(hash_u64(0), 0);
	assert_int_equal(hash_u64(1), 0x5692161d100b05e5ull);
	assert_int_equal(hash_bytes("", 0, 0), 0xf52a15e9a9b5e89bull);
	assert_int_equal(hash_bytes(name, sizeof name - 1, 0), hash_bytes(name, sizeof name - 1, 0));
	assert_int_not_equal(hash_bytes(name, sizeof name - 1, 0), hash_bytes(name, sizeof name - 1, 1));
	assert_int_not_equal(hash_bytes(name, sizeof name - 1, 0), hash_bytes(name, sizeof name - 2, 0));
	assert_int_equal(hash_bytes("file", 4, 0), 0xcd48009a2fa4cb5ull);	/* computed apart, in Python */
}

/* The upper 24 bits spread: they are the catalog's name key. */
static void test_hash_spreads(void **state)
{
	static unsigned bucket[256];
	unsigned least = ~0u, most = 0;

	(void)state;
	for (uint32_t i = 0; i < 256 * 400; i++)
		bucket[hash_bytes(&i, sizeof i, 0) >> 56]++;
	for (int i = 0; i < 256; i++) {
		least = bucket[i] < least ? bucket[i] : least;
		most = bucket[i] > most ? bucket[i] : most;
	}
	assert_in_range(least, 300, 400);	/* 400 +- 5 standard deviations */
	assert_in_range(most, 400, 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list), cmocka_unit_test(test_hash_is_stable),
		cmocka_unit_test(test_hash_spreads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
