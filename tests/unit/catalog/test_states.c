/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The state machines: the whole table of an object's steps, both ways, births, and the phases of a migration. */
#include "help.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/point.h"

static const unsigned states[] = {
	CATALOG_FOUND, CATALOG_CLEANING, CATALOG_QUARANTINED, CATALOG_MIGRATED, CATALOG_OVERWRITTEN,
	CATALOG_DELETED, CATALOG_SHADOWED, CATALOG_EXCLUDED, CATALOG_FAILED,
};
enum { N = sizeof states / sizeof *states };

/* Written down by hand from doc/crash-safety.md: a row is the state it starts from, columns in the same order. */
static const char *const of_files[N] = {
	"xxx..x.xx",	/* found */
	".x.xx....",	/* cleaning */
	"x.x..x.xx",	/* quarantined */
	"...x.....",	/* migrated */
	"....x....",	/* overwritten */
	".....x...",	/* deleted */
	"......x..",	/* shadowed */
	".......x.",	/* excluded */
	"........x",	/* failed */
};
static const char *const of_directories[N] = {
	"xxx..x.xx", ".x.x.....", "x.x..x.xx", "...x.....", ".........", ".....x...", "......x..", ".......x.",
	"........x",
};

static bool expected(unsigned type, unsigned from, unsigned to)
{
	return type != CATALOG_HARDLINK &&
	       (type == CATALOG_DIR ? of_directories : of_files)[from][to] == 'x';
}

static void test_table(void **state)
{
	(void)state;
	for (unsigned type = CATALOG_REG; type <= CATALOG_HARDLINK; type++)
		for (unsigned i = 0; i < N; i++)
			for (unsigned j = 0; j < N; j++)
				if (catalog_may_move(type, states[i], states[j]) != expected(type, i, j))
					fail_msg("type %u from %u to %u", type, states[i], states[j]);
	for (unsigned s = 0; s < 40; s++) {	/* numbers that are no state or no type */
		bool known = s <= CATALOG_QUARANTINED || (s >= CATALOG_MIGRATED && s < CATALOG_STATE_COUNT);

		assert_int_equal(catalog_may_move(CATALOG_REG, s, s), known);
		assert_false(catalog_may_move(CATALOG_REG, CATALOG_FOUND, 3 + s % 5));
		if (s < CATALOG_REG || s > CATALOG_SOCK)
			assert_false(catalog_may_move(s, CATALOG_FOUND, CATALOG_FOUND));
	}
}

/* Brings a new object into a state, by legal steps. False: there is no way. */
static bool bring(struct help *h, uint64_t oid, unsigned type, unsigned to)
{
	struct catalog_row row;
	char name[24];

	snprintf(name, sizeof name, "%lu", (unsigned long)oid);
	help_row(&row, oid, 1, name);
	row.type = (uint8_t)type;
	if (to == CATALOG_SHADOWED || to == CATALOG_EXCLUDED || to <= CATALOG_QUARANTINED)
		row.state = (uint8_t)to;
	assert_int_equal(catalog_add(h->c, &row), 0);
	if (to == CATALOG_MIGRATED || to == CATALOG_OVERWRITTEN)
		assert_int_equal(catalog_transition(h->c, oid, 1, CATALOG_CLEANING, NULL), 0);
	return row.state == to || !catalog_transition(h->c, oid, ~0u, to, NULL);
}

/* The function keeps to the table, and what it refuses changes nothing. */
static void test_every_step(void **state)
{
	struct help *h = *state;
	uint64_t oid = 10;
	struct catalog_row row;

	assert_int_equal(catalog_begin(h->c), 0);
	for (unsigned type = CATALOG_REG; type <= CATALOG_SOCK; type++)
		for (unsigned i = 0; i < N; i++)
			for (unsigned j = 0; j < N; j++, oid++) {
				bool legal = expected(type, i, j);
				enum catalog_state was = 99;
				int r;

				if (!bring(h, oid, type, states[i])) {
					assert_int_equal(type, CATALOG_DIR);
					assert_int_equal(states[i], CATALOG_OVERWRITTEN);
					continue;
				}
				r = catalog_transition(h->c, oid, 1u << states[i], states[j], &was);
				if (r != (legal ? 0 : -EINVAL))
					fail_msg("type %u from %u to %u: %d", type, states[i], states[j], r);
				assert_int_equal(was, states[i]);
				assert_int_equal(catalog_get(h->c, oid, &row), 0);
				assert_int_equal(row.state, legal ? states[j] : states[i]);
				/* from elsewhere: refused before the table is asked */
				assert_int_equal(catalog_transition(h->c, oid, ~(1u << row.state), states[j], NULL), -ESTALE);
			}
	assert_int_equal(catalog_commit(h->c), 0);
	help_check_ledger(h);
	help_reopen(h);
	help_check_ledger(h);
}

static void test_births(void **state)
{
	struct help *h = *state;
	struct catalog_row row;
	char name[24];

	assert_int_equal(catalog_begin(h->c), 0);
	for (unsigned i = 0; i < N; i++) {
		bool may = states[i] <= CATALOG_QUARANTINED || states[i] == CATALOG_SHADOWED ||
			   states[i] == CATALOG_EXCLUDED;

		snprintf(name, sizeof name, "%u", i);
		help_row(&row, 10 + i, 1, name);
		row.state = (uint8_t)states[i];
		assert_int_equal(catalog_add(h->c, &row), may ? 0 : -EINVAL);
		row.oid += 100;
		strcat(row.name, "b");
		row.name_len++;
		row.type = CATALOG_HARDLINK;
		row.link_oid = 10;
		assert_int_equal(catalog_add(h->c, &row), 0);
		assert_int_equal(catalog_transition(h->c, row.oid, ~0u, row.state, NULL), -EINVAL);
	}
	assert_int_equal(catalog_commit(h->c), 0);
	help_check_ledger(h);
}

static void test_phase(void **state)
{
	struct help *h = *state;
	uint32_t wild = 77;

	assert_int_equal(catalog_phase(h->c), CATALOG_RUNNING);
	assert_int_equal(catalog_set_phase(h->c, CATALOG_RUNNING), 0);
	assert_int_equal(catalog_set_phase(h->c, CATALOG_DETACHED), -ESTALE);
	assert_int_equal(catalog_set_phase(h->c, 3), -EINVAL);
	assert_int_equal(catalog_phase(h->c), CATALOG_RUNNING);
	for (int i = 0; i < 2; i++)
		assert_int_equal(catalog_set_phase(h->c, CATALOG_DETACHING), 0);
	assert_int_equal(catalog_phase(h->c), CATALOG_DETACHING);
	assert_int_equal(catalog_set_phase(h->c, CATALOG_RUNNING), -ESTALE);
	help_reopen(h);
	assert_int_equal(catalog_phase(h->c), CATALOG_DETACHING);
	for (int i = 0; i < 2; i++)
		assert_int_equal(catalog_set_phase(h->c, CATALOG_DETACHED), 0);
	assert_int_equal(catalog_set_phase(h->c, CATALOG_DETACHING), -ESTALE);
	assert_int_equal(catalog_phase(h->c), CATALOG_DETACHED);
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_set_phase(h->c, CATALOG_DETACHED), -EDEADLK);
	assert_int_equal(catalog_meta_set(h->c, "phase", &wild, sizeof wild), 0);
	assert_int_equal(catalog_commit(h->c), 0);
	assert_int_equal(catalog_set_phase(h->c, CATALOG_DETACHED), -EUCLEAN);
	assert_int_equal(catalog_phase(h->c), CATALOG_RUNNING);
}

/* Killed right after the commit and before the answer: the step has either been made or not, and can be made again. */
static void test_phase_killed(void **state)
{
	struct help *h = *state;
	struct err e = { 0 };
	int status;
	pid_t pid;

	assert_int_equal(catalog_close(h->c), 0);
	h->c = NULL;
	pid = fork();
	if (!pid) {
		point_set("catalog.committed kill", &e);
		if (!help_open(h, false, NULL, &e))
			catalog_set_phase(h->c, CATALOG_DETACHING);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(help_open(h, false, NULL, &e), 0);
	assert_int_equal(catalog_set_phase(h->c, CATALOG_DETACHING), 0);
	assert_int_equal(catalog_phase(h->c), CATALOG_DETACHING);
}

#define T(name) cmocka_unit_test_setup_teardown(name, help_setup, help_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_table), T(test_every_step), T(test_births), T(test_phase), T(test_phase_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
