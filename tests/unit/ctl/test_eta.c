/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The estimator against synthetic histories: machines whose true end is known.
 *
 * A history has `objects` of `size` bytes; moving one takes `cost_o` seconds plus `cost_b` per
 * byte.  Discovery finds `discover` objects a second.
 */
#include "unit.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/eta.h"

struct machine {
	double cost_o, cost_b;		/* seconds */
	double size;			/* bytes of an object */
	double objects;			/* that there are */
	double discover;		/* found per second */
	double expected;		/* objects that the source's totals promise; 0: none */
	double noise;			/* +- share of the speed */
	/* running */
	double t, found, here;
	bool answers;
	unsigned seed;
};

static void advance(struct machine *m, double dt)
{
	double per = m->cost_o + m->cost_b * m->size, wobble;

	m->seed = m->seed * 1103515245u + 12345u;
	wobble = 1 + m->noise * ((double)(m->seed >> 16 & 0x7fff) / 16383.5 - 1);
	m->t += dt;
	if (!m->answers)
		return;
	m->found = m->found + m->discover * dt < m->objects ? m->found + m->discover * dt
							    : m->objects;
	m->here += dt * wobble / per;
	if (m->here > m->found)
		m->here = m->found;
}

static struct eta_sample sample(const struct machine *m)
{
	return (struct eta_sample){
		.t = m->t,
		.found_objects = (uint64_t)m->found,
		.found_bytes = (uint64_t)((double)(uint64_t)m->found * m->size),
		.here_objects = (uint64_t)m->here,
		.here_bytes = (uint64_t)(m->here * m->size),
		.expected_objects = (uint64_t)m->expected,
		.expected_bytes = (uint64_t)(m->expected * m->size),
		.discovery_done = m->found >= m->objects,
		.source_answers = m->answers,
	};
}

static double true_left(const struct machine *m)
{
	return (m->objects - m->here) * (m->cost_o + m->cost_b * m->size);
}

static const struct machine steady = {
	.cost_o = 0.0001, .cost_b = 1e-9, .size = 100000, .objects = 1e6, .discover = 20000,
	.expected = 1.1e6, .answers = true,
};

static void test_range_contains_the_truth(void **state)
{
	struct machine m = steady;
	struct eta e;

	(void)state;
	m.noise = 0.3;
	eta_init(&e);
	while (m.here < m.objects) {
		struct eta_sample s = sample(&m);
		struct eta_range r;

		eta_add(&e, &s);
		eta_range(&e, &r);
		if (m.t > 10) {
			assert_true(r.known && r.bounded);
			assert_true(r.low <= r.high);
			assert_true(r.high >= true_left(&m) * 0.95);
			assert_true(m.found < m.objects || r.low <= true_left(&m) * 1.1 + 2);
			assert_true(m.found < m.objects || r.high <= true_left(&m) * 2 + 5);
		}
		advance(&m, 1);
	}
}

/* The point: more being found must not push the shown end away. */
static void test_discovery_moves_nothing_back(void **state)
{
	struct machine m = steady;
	double end = 1e300;
	struct eta e;

	(void)state;
	m.discover = 7000;	/* listing takes most of the time */
	eta_init(&e);
	while (m.here < m.objects) {
		struct eta_sample s = sample(&m);
		struct eta_range r;

		eta_add(&e, &s);
		eta_range(&e, &r);
		if (r.bounded && m.t > 5 && m.here < m.objects - 1) {
			assert_true(m.t + r.high <= end + 0.001);
			assert_null(r.cause);
			end = m.t + r.high;
		}
		advance(&m, 1);
	}
}

static void test_unknown_totals_give_no_upper_end(void **state)
{
	struct machine m = steady;
	struct eta e;
	struct eta_range r = { 0 };
	bool was_unbounded = false;

	(void)state;
	m.expected = 0;
	eta_init(&e);
	while (m.here < m.objects) {
		struct eta_sample s = sample(&m);

		eta_add(&e, &s);
		eta_range(&e, &r);
		if (!s.discovery_done)
			assert_false(r.bounded);
		was_unbounded |= r.known && !r.bounded;
		advance(&m, 1);
	}
	assert_true(was_unbounded);
	assert_true(r.bounded);
}

static double run(struct eta *e, struct machine *m, double seconds, double *grown,
		  const char **cause)
{
	struct eta_range r = { 0 };
	double end = -1, until = m->t + seconds;

	*grown = 0;
	*cause = NULL;
	while (m->t < until) {
		struct eta_sample s = sample(m);

		eta_add(e, &s);
		eta_range(e, &r);
		if (end >= 0 && m->t + r.high > end + 0.001) {
			*grown += m->t + r.high - end;
			assert_non_null(r.cause);	/* the invariant */
			*cause = r.cause;
		}
		end = r.bounded ? m->t + r.high : -1;
		advance(m, 1);
	}
	return r.high;
}

static void test_growth_names_its_cause(void **state)
{
	struct machine m = steady;
	const char *cause;
	double grown;
	struct eta e;

	(void)state;
	eta_init(&e);
	run(&e, &m, 60, &grown, &cause);
	assert_true(grown == 0);

	m.answers = false;	/* a cable is pulled for two minutes */
	run(&e, &m, 120, &grown, &cause);
	assert_string_equal(cause, ETA_CAUSE_SOURCE);
	assert_true(grown > 100 && grown < 140);
	m.answers = true;
	run(&e, &m, 20, &grown, &cause);

	m.cost_o *= 8;		/* something else takes the disk */
	m.cost_b *= 8;
	run(&e, &m, 60, &grown, &cause);
	assert_string_equal(cause, ETA_CAUSE_SLOW);
	assert_true(grown > 60);
}

static void test_more_than_promised(void **state)
{
	struct machine m = steady;
	const char *cause;
	double grown;
	struct eta e;

	(void)state;
	m.expected = 200000;	/* the server's totals lie */
	m.discover = 8000;
	eta_init(&e);
	run(&e, &m, 100, &grown, &cause);
	assert_true(grown > 0);
	assert_string_equal(cause, ETA_CAUSE_MORE);
}

/* Many small files first, few large ones last: the two costs must be told apart. */
static void test_mixed_sizes(void **state)
{
	struct eta_sample s = { .found_objects = 100100, .found_bytes = 100000ull * 4096 +
				(100ull << 30), .discovery_done = true, .source_answers = true };
	struct eta_range r;
	struct eta e;
	double truth;

	(void)state;
	eta_init(&e);
	/* 10,000 objects a second, and every third second 1 GiB at 0.5 GiB/s instead */
	for (int i = 0; i < 15; i++) {
		eta_add(&e, &s);
		s.t += 1;
		if (i % 3) {
			s.here_bytes += 1ull << 29;
		} else {
			s.here_objects += 10000;
			s.here_bytes += 10000ull * 4096;
		}
	}
	eta_add(&e, &s);
	eta_range(&e, &r);
	truth = 95.0 * 2 + 5;	/* 95 GiB at 0.5 GiB/s and 50,000 objects */
	assert_true(r.low <= truth && r.high >= truth);
	assert_true(r.high < truth * 2 && r.low > truth / 2);
}

static void test_ends(void **state)
{
	struct eta_sample s = { .source_answers = true };
	struct eta_range r;
	struct eta e;

	(void)state;
	eta_init(&e);
	eta_range(&e, &r);
	assert_false(r.known || r.bounded);
	for (int i = 0; i < 30; i++) {	/* nothing ever moves */
		s.t = i;
		s.found_objects = 10;
		s.discovery_done = true;
		eta_add(&e, &s);
	}
	eta_range(&e, &r);
	assert_false(r.known || r.bounded);
	s.t = 31;
	s.here_objects = 10;
	eta_add(&e, &s);
	eta_range(&e, &r);
	assert_true(r.known && r.bounded && r.low == 0 && r.high == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_range_contains_the_truth),
		cmocka_unit_test(test_discovery_moves_nothing_back),
		cmocka_unit_test(test_unknown_totals_give_no_upper_end),
		cmocka_unit_test(test_growth_names_its_cause),
		cmocka_unit_test(test_more_than_promised),
		cmocka_unit_test(test_mixed_sizes),
		cmocka_unit_test(test_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
