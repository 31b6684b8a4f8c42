/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The node table by itself. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "fake_access.h"
#include "node.h"

static struct target_handle handle(uint32_t ino, uint32_t gen)
{
	struct target_handle h = { .len = 8, .type = 1 };

	memcpy(h.data, &ino, 4);
	memcpy(h.data + 4, &gen, 4);
	return h;
}

static void test_table(void **state)
{
	enum { N = 20000 };
	struct target_handle root = handle(2, 0), h;
	struct node_table *t;
	uint64_t id, again;
	uint32_t gen;

	(void)state;
	assert_true(sizeof(struct node) <= 96 + sizeof(struct target_handle));
	assert_int_equal(node_table_new(&root, &t), 0);
	assert_int_equal(node_find(t, &root), 1);
	for (uint32_t i = 0; i < N; i++) {
		h = handle(100 + i, i);
		assert_int_equal(node_intern(t, &h, &id), 0);
		assert_int_equal(id, i + 2);
	}
	assert_int_equal(node_count(t), N + 1);
	for (uint32_t i = 0; i < N; i++) {
		h = handle(100 + i, i);
		assert_int_equal(node_find(t, &h), i + 2);
		assert_true(target_handle_equal(&node_by_id(t, i + 2)->handle, &h));
		h = handle(100 + i, i + 1);		/* the same inode number, another inode */
		assert_int_equal(node_find(t, &h), 0);
	}
	h = handle(100, 0);
	assert_int_equal(node_intern(t, &h, &again), 0);
	assert_int_equal(again, 2);
	gen = node_by_id(t, 2)->generation;
	node_forget(t, 2, 1);
	assert_int_equal(node_find(t, &h), 2);
	node_forget(t, 2, 1);
	assert_int_equal(node_find(t, &h), 0);
	assert_null(node_by_id(t, 2));
	assert_int_equal(node_intern(t, &h, &again), 0);
	assert_int_equal(again, 2);			/* the id again, but not the same node */
	assert_int_not_equal(node_by_id(t, 2)->generation, gen);
	node_forget(t, 1, 1000);
	assert_non_null(node_by_id(t, 1));
	node_forget(t, 99999999, 1);			/* nonsense from outside */
	assert_null(node_by_id(t, 0));
	assert_null(node_by_id(t, UINT64_MAX));
	assert_null(node_by_id(t, 1ull << 40));
	node_table_free(t);
}

static void test_objects(void **state)
{
	struct engine *en = fake_new(NULL);
	struct eobj *o = fake_object(en, 1, GATE_ALL), *got;
	struct target_handle root = handle(2, 0), h = handle(3, 0);
	struct node_table *t;
	uint64_t id;

	(void)state;
	assert_int_equal(node_table_new(&root, &t), 0);
	assert_int_equal(node_intern(t, &h, &id), 0);
	node_set_object(t, node_by_id(t, id), access_ref(o));
	node_set_object(t, node_by_id(t, id), access_ref(o));	/* the second reference is dropped */
	assert_int_equal(o->refs, 1);
	got = node_object(t, node_by_id(t, id));
	assert_ptr_equal(got, o);
	access_put(got);
	o->complete = true;
	assert_null(node_object(t, node_by_id(t, id)));
	assert_int_equal(o->refs, 0);
	assert_true(node_by_id(t, id)->flags & NODE_COMPLETE);
	node_set_object(t, node_by_id(t, id), access_ref(o));	/* complete is one-way */
	assert_int_equal(o->refs, 0);
	h = handle(4, 0);
	assert_int_equal(node_intern(t, &h, &id), 0);
	o->complete = false;
	node_set_object(t, node_by_id(t, id), access_ref(o));
	node_forget(t, id, 1);
	assert_int_equal(o->refs, 0);
	node_table_free(t);
	fake_free(en);
}

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(test_table), cmocka_unit_test(test_objects) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
