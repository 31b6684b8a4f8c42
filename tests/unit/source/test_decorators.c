/* SPDX-License-Identifier: GPL-3.0-or-later */
/* retry, throttle and fault over the scripted source of fake.h. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "call.h"
#include "fake.h"

static const struct source_fh fh = { .len = 4 };

/* ---- many requests at once ---- */

struct batch {
	struct source_req *reqs;
	unsigned count;
	struct call_gate *gate;
	_Atomic unsigned failed, cancelled;
};

static void batch_done(struct source_req *req)
{
	struct batch *b = req->user;

	if (req->err == -ECANCELED)
		b->cancelled++;
	else if (req->err)
		b->failed++;
	call_gate_pass(b->gate);
}

static void batch_start(struct batch *b, struct source *s, enum source_lane lane, unsigned count,
			uint32_t length)
{
	unsigned i;

	*b = (struct batch){ .reqs = calloc(count, sizeof *b->reqs), .count = count,
			     .gate = call_gate_new() };
	for (i = 0; i < count; i++) {
		b->reqs[i] = (struct source_req){ .op = SOURCE_READ, .lane = lane, .fh = fh,
						  .length = length, .done = batch_done, .user = b };
		source_submit(s, &b->reqs[i]);
	}
}

static void batch_end(struct batch *b)
{
	assert_true(call_gate_wait(b->gate, b->count, 10));
	call_gate_free(b->gate);
	free(b->reqs);
}

static double since(uint64_t start)
{
	return (double)(clock_mono() - start) / 1e9;
}

/* ---- retry ---- */

static void test_retry_passes(void **state)
{
	static const struct fake_step steps[] = { { -EIO, 0 }, { -EAGAIN, 0 }, { 0, 0 } };
	struct source *fake = fake_new(steps, 3), *s = source_retry(fake, 4);
	struct source_stats stats;
	struct source_attr a;
	uint64_t start = clock_mono();

	(void)state;
	assert_int_equal(call_getattr(s, &fh, &a), 0);
	assert_int_equal(fake_seen(fake), 3);
	assert_true(since(start) >= 0.45);	/* 100 ms, then 400 ms */
	assert_true(since(start) < 3);
	source_stats(s, &stats);
	assert_int_equal(stats.retries, 2);
	source_close(s);
}

static void test_retry_gives_up(void **state)
{
	static const struct fake_step steps[] = { { -EPROTO, 0 } };
	struct source *fake = fake_new(steps, 1), *s = source_retry(fake, 3);
	struct source_attr a;

	(void)state;
	assert_int_equal(call_getattr(s, &fh, &a), -EPROTO);
	assert_int_equal(fake_seen(fake), 3);
	source_close(s);
}

static void test_retry_final(void **state)
{
	static const int final[] = { -ENOENT, -EACCES, -ESTALE, -ENOTDIR };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof final / sizeof *final; i++) {
		struct fake_step step = { final[i], 0 };
		struct source *fake = fake_new(&step, 1), *s = source_retry(fake, 5);
		struct source_attr a;

		assert_int_equal(call_getattr(s, &fh, &a), final[i]);
		assert_int_equal(fake_seen(fake), 1);
		source_close(s);
	}
}

static void test_retry_close(void **state)
{
	static const struct fake_step steps[] = { { -EIO, 0 } };
	struct source *s = source_retry(fake_new(steps, 1), 1000);
	unsigned closed = fake_closed;
	struct batch b;

	(void)state;
	batch_start(&b, s, SOURCE_BACKGROUND, 20, 10);
	source_close(s);
	assert_int_equal(b.cancelled, 20);
	assert_int_equal(fake_closed, closed + 1);
	batch_end(&b);
}

/* ---- throttle ---- */

static void test_throttle_rate(void **state)
{
	struct source *s = source_throttle(fake_new(NULL, 0));
	uint64_t start = clock_mono();
	struct batch b;

	(void)state;
	source_throttle_set(s, 1000000, 0);
	batch_start(&b, s, SOURCE_BACKGROUND, 60, 10000);	/* 600 kB at 1 MB/s */
	batch_end(&b);
	assert_true(since(start) > 0.45);
	assert_true(since(start) < 2);
	source_close(s);
}

static void test_throttle_change(void **state)
{
	struct source *s = source_throttle(fake_new(NULL, 0));
	uint64_t start = clock_mono();
	struct batch b;

	(void)state;
	source_throttle_set(s, 10, 0);		/* would take hours */
	batch_start(&b, s, SOURCE_BACKGROUND, 50, 10000);
	assert_false(call_gate_wait(b.gate, 2, 0.2));
	source_throttle_set(s, 0, 0);
	batch_end(&b);
	assert_true(since(start) < 2);
	source_close(s);
}

static void test_throttle_demand(void **state)
{
	struct source *fake = fake_new(NULL, 0), *s = source_throttle(fake);
	struct batch background, demand;
	uint64_t start;

	(void)state;
	source_throttle_set(s, 100000, 0);
	start = clock_mono();
	batch_start(&demand, s, SOURCE_DEMAND, 50, 100000);	/* 50 s worth: passes at once */
	batch_end(&demand);
	assert_true(since(start) < 1);
	/* and is charged, at most for a second: the background waits, but not for 50 s */
	batch_start(&background, s, SOURCE_BACKGROUND, 1, 1);
	assert_false(call_gate_wait(background.gate, 1, 0.3));
	batch_end(&background);
	assert_true(since(start) < 4);
	source_close(s);
}

static void test_throttle_in_flight(void **state)
{
	static const struct fake_step slow[] = { { 0, 20 } };
	struct source *fake = fake_new(slow, 1), *s = source_throttle(fake);
	struct source_limits l;
	struct batch b;

	(void)state;
	source_throttle_set(s, 0, 3);
	source_limits(s, &l);
	assert_int_equal(l.depth, 3);
	batch_start(&b, s, SOURCE_BACKGROUND, 20, 10);
	batch_end(&b);
	assert_int_equal(fake_peak(fake), 3);
	source_throttle_set(s, 0, 0);
	batch_start(&b, s, SOURCE_BACKGROUND, 20, 10);
	batch_end(&b);
	assert_int_equal(fake_peak(fake), 20);
	source_close(s);
}

static void test_throttle_close(void **state)
{
	struct source *s = source_throttle(fake_new(NULL, 0));
	struct batch b;

	(void)state;
	source_throttle_set(s, 1, 1);
	batch_start(&b, s, SOURCE_BACKGROUND, 30, 1000);
	source_close(s);
	assert_true(b.cancelled >= 28);
	batch_end(&b);
}

/* ---- fault ---- */

static int read_once(struct source *s, const char *name, struct source_req *out, char *data)
{
	struct source_fh f = fh;
	struct source_attr a;
	uint32_t got;
	bool eof;
	char *d;
	int r;

	(void)name;
	r = call_read(s, &f, 0, 100, &d, &got, &eof, &a);
	out->out_length = got;
	out->attr = a;
	if (!r)
		memcpy(data, d, got);
	free(d);
	return r;
}

static void test_fault_errors(void **state)
{
	struct source *fake = fake_new(NULL, 0), *s = source_fault(fake);
	struct source_attr a;
	struct source_fh out;
	struct err e;

	(void)state;
	assert_int_equal(call_getattr(s, &fh, &a), 0);
	assert_int_equal(source_fault_set(s, "getattr err=ESTALE; lookup name=a* err=ENOENT\n", &e), 0);
	assert_int_equal(call_getattr(s, &fh, &a), -ESTALE);
	assert_int_equal(call_lookup(s, &fh, "abc", &out, NULL), -ENOENT);
	assert_int_equal(call_lookup(s, &fh, "bca", &out, NULL), 0);
	assert_int_equal(fake_seen(fake), 2);
	assert_int_equal(source_fault_set(s, "", &e), 0);
	assert_int_equal(call_getattr(s, &fh, &a), 0);
	source_close(s);
}

static void test_fault_counters(void **state)
{
	static const int want[] = { 0, 0, 0, -EIO, 0, -EIO, 0, 0, 0 };
	struct source *s = source_fault(fake_new(NULL, 0));
	struct source_attr a;
	struct err e;
	size_t i;

	(void)state;
	assert_int_equal(source_fault_set(s, "any after=2 every=2 count=2 err=EIO", &e), 0);
	for (i = 0; i < sizeof want / sizeof *want; i++)
		assert_int_equal(call_getattr(s, &fh, &a), want[i]);
	source_close(s);
}

static void test_fault_data(void **state)
{
	struct source *s = source_fault(fake_new(NULL, 0));
	struct source_req r;
	char data[100];
	unsigned i, wrong = 0;
	struct err e;

	(void)state;
	assert_int_equal(source_fault_set(s, "read short", &e), 0);
	assert_int_equal(read_once(s, NULL, &r, data), 0);
	assert_int_equal(r.out_length, 50);
	assert_int_equal(r.attr.mtime.nsec, 500);
	assert_int_equal(source_fault_set(s, "read flip;read touch", &e), 0);
	assert_int_equal(read_once(s, NULL, &r, data), 0);
	assert_int_equal(r.out_length, 100);
	for (i = 0; i < 100; i++)
		wrong += (unsigned)__builtin_popcount((unsigned char)(data[i] ^ fake_byte(i)));
	assert_int_equal(wrong, 1);
	assert_int_equal(r.attr.mtime.nsec, 501);
	source_close(s);
}

static void test_fault_delay(void **state)
{
	struct source *s = source_fault(fake_new(NULL, 0));
	uint64_t start = clock_mono();
	struct source_attr a;
	struct batch b;
	struct err e;

	(void)state;
	assert_int_equal(source_fault_set(s, "read delay=400ms", &e), 0);
	batch_start(&b, s, SOURCE_DEMAND, 200, 10);
	assert_int_equal(call_getattr(s, &fh, &a), 0);	/* not held up by 200 others */
	assert_true(since(start) < 0.3);
	assert_int_equal(call_gate_count(b.gate), 0);
	batch_end(&b);
	assert_true(since(start) >= 0.4);
	assert_true(since(start) < 2);
	source_close(s);
}

static void test_fault_stall(void **state)
{
	struct source *fake = fake_new(NULL, 0), *s = source_fault(fake);
	struct batch b, c;
	struct err e;

	(void)state;
	assert_int_equal(source_fault_set(s, "read stall", &e), 0);
	batch_start(&b, s, SOURCE_DEMAND, 200, 10);
	assert_false(call_gate_wait(b.gate, 1, 0.1));
	assert_int_equal(fake_seen(fake), 0);
	/* bad rules leave the old ones, and the stalled, alone */
	assert_int_equal(source_fault_set(s, "read stall nonsense", &e), -EINVAL);
	assert_false(call_gate_wait(b.gate, 1, 0.1));
	assert_int_equal(source_fault_set(s, "lookup err=EIO", &e), 0);
	batch_end(&b);
	assert_int_equal(b.failed, 0);
	assert_int_equal(source_fault_set(s, "any stall", &e), 0);
	batch_start(&c, s, SOURCE_BACKGROUND, 10, 10);
	source_close(s);
	assert_int_equal(c.cancelled, 10);
	batch_end(&c);
}

static void test_fault_close_delayed(void **state)
{
	struct source *s = source_fault(fake_new(NULL, 0));
	uint64_t start = clock_mono();
	struct batch b;
	struct err e;

	(void)state;
	assert_int_equal(source_fault_set(s, "any delay=1min", &e), 0);
	batch_start(&b, s, SOURCE_BACKGROUND, 10, 10);
	source_close(s);
	assert_int_equal(b.cancelled, 10);
	assert_true(since(start) < 1);
	batch_end(&b);
}

static void test_fault_syntax(void **state)
{
	static const char *const bad[][2] = {
		{ "write err=EIO", "unknown operation \"write\"" },
		{ "read", "exactly one action" },
		{ "read short flip", "exactly one action" },
		{ "read err=EWHAT", "err=EWHAT" },
		{ "read err", "unknown word \"err\"" },
		{ "read delay=10", "delay=10" },
		{ "read delay=-1s", "delay=-1s" },
		{ "read delay=99999999999999999999s", "delay=" },
		{ "read count=0 stall", "count=0" },
		{ "read every=0 stall", "every=0" },
		{ "read after=x stall", "after=x" },
		{ "read stall=1", "unknown word \"stall\"" },
		{ "lookup flip", "short and flip are for read" },
		{ "read stall; any bogus", "fault rule 2" },
	};
	struct source *s = source_fault(fake_new(NULL, 0));
	struct err e;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof bad / sizeof *bad; i++) {
		memset(&e, 0, sizeof e);
		assert_int_equal(source_fault_set(s, bad[i][0], &e), -EINVAL);
		if (!strstr(e.text, bad[i][1]))
			fail_msg("\"%s\": got \"%s\"", bad[i][0], e.text);
	}
	assert_int_equal(source_fault_set(s, " ; \n any  name=*.c  delay=2min ;", &e), 0);
	source_close(s);
}

/* ---- all three ---- */

static void test_stack(void **state)
{
	static const struct fake_step steps[] = { { -EIO, 1 }, { 0, 0 }, { 0, 1 } };
	struct source *s = source_throttle(source_retry(source_fault(fake_new(steps, 3)), 5));
	unsigned closed = fake_closed;
	struct batch b;

	(void)state;
	assert_int_equal(s->root.len, 4);
	batch_start(&b, s, SOURCE_BACKGROUND, 500, 1000);
	batch_end(&b);
	assert_int_equal(b.failed, 0);
	source_close(s);
	assert_int_equal(fake_closed, closed + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_retry_passes),
		cmocka_unit_test(test_retry_gives_up),
		cmocka_unit_test(test_retry_final),
		cmocka_unit_test(test_retry_close),
		cmocka_unit_test(test_throttle_rate),
		cmocka_unit_test(test_throttle_change),
		cmocka_unit_test(test_throttle_demand),
		cmocka_unit_test(test_throttle_in_flight),
		cmocka_unit_test(test_throttle_close),
		cmocka_unit_test(test_fault_errors),
		cmocka_unit_test(test_fault_counters),
		cmocka_unit_test(test_fault_data),
		cmocka_unit_test(test_fault_delay),
		cmocka_unit_test(test_fault_stall),
		cmocka_unit_test(test_fault_close_delayed),
		cmocka_unit_test(test_fault_syntax),
		cmocka_unit_test(test_stack),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
