/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "eta.h"

#include <math.h>
#include <string.h>

#define FAST_TAU 20.0
#define SLOW_TAU 300.0
#define WARM_UP 3.0		/* seconds before anything is said */
#define LOW_MARGIN 0.85
#define HIGH_MARGIN 1.3
#define FALL_TAU 10.0		/* how smoothly the shown ends follow */
#define GROW_FROM 1.2		/* the upper end stays until it is wrong by this factor ... */
#define GROW_SLACK 3.0		/* ... and these seconds */
#define CAUSE_SHOWN 60.0	/* seconds */

void eta_init(struct eta *e)
{
	memset(e, 0, sizeof *e);
	e->fast.tau = FAST_TAU;
	e->slow.tau = SLOW_TAU;
}

static double minus(uint64_t a, uint64_t b)
{
	return a > b ? (double)(a - b) : 0;
}

static void learn(struct eta_window *w, double dt, double o, double b)
{
	double keep = exp(-dt / w->tau);

	w->t = w->t * keep + dt;
	w->o = w->o * keep + o;
	w->b = w->b * keep + b;
	w->oo = w->oo * keep + o * o;
	w->ob = w->ob * keep + o * b;
	w->bb = w->bb * keep + b * b;
	w->to = w->to * keep + dt * o;
	w->tb = w->tb * keep + dt * b;
}

/*
 * Seconds for this much work at the window's speed; INFINITY when nothing has moved in it.
 * Minimises sum (dt - co o - cb b)^2 + k (co - R cb)^2: the second term decides where the first cannot.
 */
static double seconds(const struct eta_window *w, double objects, double bytes)
{
	const double R = ETA_OBJECT_BYTES;
	double k = 0.01 * (w->oo + w->bb / (R * R)), co, cb, det, explained;

	if (objects <= 0 && bytes <= 0)
		return 0;
	if (k <= 0)
		return INFINITY;
	det = (w->oo + k) * (w->bb + k * R * R) - (w->ob - k * R) * (w->ob - k * R);
	co = (w->to * (w->bb + k * R * R) - w->tb * (w->ob - k * R)) / det;
	cb = (w->tb * (w->oo + k) - w->to * (w->ob - k * R)) / det;
	if (!(co > 0) || !isfinite(co))
		co = 0;
	if (!(cb > 0) || !isfinite(cb))
		cb = 0;
	if (!cb && bytes > 0 && !w->b)
		cb = co / R;
	explained = co * w->o + cb * w->b;
	if (explained <= 0)
		return INFINITY;
	return (co * objects + cb * bytes) * w->t / explained;
}

static const char *grow_cause(const struct eta *e, const struct eta_sample *s,
			      double work_o, double work_b)
{
	if (!s->source_answers)
		return ETA_CAUSE_SOURCE;
	if (s->target_full)
		return ETA_CAUSE_FULL;
	if (work_o > e->work_o * 1.01 + 10 || work_b > e->work_b * 1.01 + 1048576)
		return ETA_CAUSE_MORE;
	return ETA_CAUSE_SLOW;
}

/* Everything there may be: found or, while it is not all found, promised by the source. */
static bool total_work(const struct eta_sample *s, double *objects, double *bytes)
{
	*objects = (double)s->found_objects;
	*bytes = (double)s->found_bytes;
	if (s->discovery_done)
		return true;
	*objects = fmax(*objects, (double)s->expected_objects);
	*bytes = fmax(*bytes, (double)s->expected_bytes);
	return s->expected_objects && s->expected_bytes;
}

static void grow(struct eta *e, double high_at, const char *cause, double t,
		 double work_o, double work_b)
{
	e->high_at = high_at;
	e->cause = cause;
	e->cause_t = t;
	e->work_o = work_o;
	e->work_b = work_b;
}

static void update_high(struct eta *e, const struct eta_sample *s, double dt)
{
	double work_o, work_b, left, shown;
	bool bounded = total_work(s, &work_o, &work_b);
	double left_o = fmax(0, work_o - (double)s->here_objects);
	double left_b = fmax(0, work_b - (double)s->here_bytes);

	left = HIGH_MARGIN * fmax(seconds(&e->fast, left_o, left_b),
				  seconds(&e->slow, left_o, left_b));
	if (!bounded || !isfinite(left))
		return;
	if (!e->have_high) {
		e->have_high = true;
		e->high_at = s->t + left;
		e->work_o = work_o;
		e->work_b = work_b;
		return;
	}
	shown = fmax(0, e->high_at - s->t);
	if (left > shown * GROW_FROM + GROW_SLACK) {
		grow(e, s->t + left, grow_cause(e, s, work_o, work_b), s->t, work_o, work_b);
	} else if (left < shown) {
		e->high_at -= (shown - left) * fmin(1, dt / FALL_TAU);
		e->work_o = work_o;
		e->work_b = work_b;
	}
}

static void update_low(struct eta *e, const struct eta_sample *s, double dt)
{
	double left_o = minus(s->found_objects, s->here_objects);
	double left_b = minus(s->found_bytes, s->here_bytes);
	double left = LOW_MARGIN * fmin(seconds(&e->fast, left_o, left_b),
					seconds(&e->slow, left_o, left_b));

	if (!isfinite(left))
		return;
	if (!e->have_low)
		e->low_at = s->t + left;
	e->have_low = true;
	e->low_at += (s->t + left - e->low_at) * fmin(1, dt / FALL_TAU);
}

/* Nothing can be learned while the source is away: both ends move with the clock. */
static void wait_for_source(struct eta *e, const struct eta_sample *s, double dt)
{
	e->low_at += dt;
	if (e->have_high)
		grow(e, e->high_at + dt, ETA_CAUSE_SOURCE, s->t, e->work_o, e->work_b);
}

void eta_add(struct eta *e, const struct eta_sample *s)
{
	double dt = s->t - e->last.t, o, b;

	if (!e->begun || !(dt > 0)) {
		if (!e->begun)
			e->last = *s;
		e->begun = true;
		return;
	}
	o = minus(s->here_objects, e->last.here_objects);
	b = minus(s->here_bytes, e->last.here_bytes);
	e->last = *s;
	if (!s->source_answers && !o && !b) {
		wait_for_source(e, s, dt);
		return;
	}
	e->seen += dt;
	learn(&e->fast, dt, o, b);
	learn(&e->slow, dt, o, b);
	if (e->seen < WARM_UP)
		return;
	update_high(e, s, dt);
	update_low(e, s, dt);
}

static bool nothing_left(const struct eta_sample *s)
{
	return s->discovery_done && s->here_objects >= s->found_objects;
}

void eta_range(const struct eta *e, struct eta_range *out)
{
	double t = e->last.t;

	*out = (struct eta_range){ .known = e->have_low, .bounded = e->have_high };
	if (e->begun && nothing_left(&e->last)) {
		out->known = out->bounded = true;
		return;
	}
	if (e->have_low)
		out->low = fmax(0, e->low_at - t);
	if (e->have_high)
		out->high = fmax(0, e->high_at - t);
	if (out->bounded && out->low > out->high)
		out->low = out->high;
	if (e->cause && t - e->cause_t < CAUSE_SHOWN)
		out->cause = e->cause;
}
