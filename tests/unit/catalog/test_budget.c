/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The budget: at most 120 bytes an object on disk, all indices included, at
 * the end of the life FOUND -> CLEANING -> MIGRATED with a checksum; and
 * the lists' index gone by then.  20-byte names, 8-byte handles, two times with nanoseconds.
 */
#include "help.h"

#define OBJECTS 200000u
#define PER_DIR 500u
#define GROUP 5000u

static void group(struct help *h, uint64_t first, void (*each)(struct help *h, uint64_t oid))
{
	assert_int_equal(catalog_begin(h->c), 0);
	for (uint64_t oid = first; oid < first + GROUP; oid++)
		each(h, oid);
	assert_int_equal(catalog_commit(h->c), 0);
}

static void all(struct help *h, void (*each)(struct help *h, uint64_t oid))
{
	for (uint64_t i = 0; i < OBJECTS; i += GROUP) {
		group(h, 2 + i, each);
		if (i % 50000 == 0)
			assert_int_equal(catalog_checkpoint(h->c), 0);
	}
}

static void found(struct help *h, uint64_t oid)
{
	struct catalog_row row;
	char name[21];

	snprintf(name, sizeof name, "file-%015lx", (unsigned long)(oid * 0x9e3779b97f4a7c15u >> 4));
	help_row(&row, oid, 1 + oid / PER_DIR, name);
	assert_int_equal(row.name_len, 20);
	row.change = (uint64_t)row.ctime.sec * 1000000000 + row.ctime.nsec;	/* as many servers make it */
	assert_int_equal(catalog_add(h->c, &row), 0);
}

static void cleaning(struct help *h, uint64_t oid)
{
	uint64_t sum[2] = { oid * 0x9e3779b97f4a7c15u, ~oid };

	assert_int_equal(catalog_transition(h->c, oid, 1u << CATALOG_FOUND, CATALOG_CLEANING, NULL), 0);
	assert_int_equal(catalog_set_checksum(h->c, oid, (const uint8_t *)sum), 0);
}

static void migrated(struct help *h, uint64_t oid)
{
	assert_int_equal(catalog_transition(h->c, oid, 1u << CATALOG_CLEANING, CATALOG_MIGRATED, NULL), 0);
	assert_int_equal(catalog_set_ctime(h->c, oid, (struct catalog_time){ 1900000000, (uint32_t)oid }), 0);
}

static double bytes_each(struct help *h)
{
	assert_int_equal(catalog_checkpoint(h->c), 0);
	return (double)catalog_disk_bytes(h->c) / OBJECTS;
}

static void test_budget(void **state)
{
	struct help *h = *state;
	struct catalog_counters k;
	double at_start, at_end;

	all(h, found);
	at_start = bytes_each(h);
	all(h, cleaning);
	all(h, migrated);
	at_end = bytes_each(h);
	print_message("bytes an object: %.1f all waiting, %.1f at the end\n", at_start, at_end);
	assert_true(at_end <= 120);
	assert_true(at_start <= 135);	/* with the list's index, for a while */
	catalog_counters(h->c, &k);
	assert_int_equal(k.objects[CATALOG_MIGRATED], OBJECTS);
	assert_int_equal(k.objects[CATALOG_FOUND] + k.objects[CATALOG_CLEANING], 0);
	assert_int_equal(help_value(h, "SELECT count(*) FROM object WHERE attr<7340032"), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, help_setup, help_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { T(test_budget) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
