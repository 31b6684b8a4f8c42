/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Invariant: a request that was submitted is in exactly one of four places:
 * the inbox (under the lock), waiting, in_flight or delayed (the thread's
 * own).  Losing the connection moves everything from in_flight to waiting;
 * only an answer, or close, takes a request out.  All requests are
 * idempotent reads, so sending one again is always right: hard-mount
 * semantics without a limit of time.
 *
 *   DOWN --connect--> CONNECTING --connected--> PROBING --NULL answered--> UP
 *     ^                    |                       |                       |
 *     +---- lost(): error, deadline; pause doubles up to RETRY_MAX --------+
 *
 * A server that hangs keeps accepting connections (its kernel does), so a
 * new connection first sends a NULL call, and the backlog only after that is
 * answered.  Silence is the only sign of a hanging server: when nothing has
 * arrived for `patience` while a call waits, the connection is given up;
 * patience grows each time, for servers that are just slow (tape).
 *
 * libnfs contexts are never reconnected: its own reconnect spins, and does
 * not exist for v4 (FACTS).  Destroying a context fires all its callbacks;
 * therefore it is destroyed only from the main loop, never inside a callback.
 */
#include "nfs_conn.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "check.h"

static_assert(sizeof(uintptr_t) >= sizeof(uint64_t), "a hook holds a time in ns");

#define IN_FLIGHT_MAX 256		/* calls on one connection */
#define CONNECT_DEADLINE (10 * CLOCK_SEC)
#define PATIENCE_MIN (15 * CLOCK_SEC)
#define PATIENCE_MAX (120 * CLOCK_SEC)
#define PROBE_MAX (20 * CLOCK_SEC)
#define REQUEST_DEADLINE (180 * CLOCK_SEC)	/* of one call, although others are answered */
#define RETRY_MIN (50 * CLOCK_MS)
#define RETRY_MAX (1 * CLOCK_SEC)
#define QUIET (3 * CLOCK_SEC)		/* unanswered for so long is worth telling */
#define STACK (64u << 20)	/* libnfs decodes a list by recursion: 1 MiB of smallest entries
				 * nests 30,000 deep.  Virtual memory, touched only then. */

enum state { DOWN, CONNECTING, PROBING, UP };

struct nfs_conn {
	struct nfs *nfs;
	pthread_t thread;
	int wake_fd;
	_Atomic unsigned load;

	pthread_mutex_t lock;	/* these: */
	struct list inbox;
	bool woken, closing;
	pthread_t self;		/* the thread's own id, once it runs */
	char why[160];		/* of the last loss; "" when all is well */
	uint64_t trouble_since;

	/* the thread's own from here */
	struct rpc_context *rpc;
	enum state state;
	bool broken;		/* seen in a callback; the main loop acts on it */
	char broken_why[120];
	struct list waiting, in_flight, delayed;
	unsigned calls;		/* length of in_flight */
	uint64_t now;		/* read once a turn */
	uint64_t deadline;	/* CONNECTING, PROBING */
	uint64_t retry_at, retry_pause;	/* DOWN */
	uint64_t heard;		/* when anything last arrived */
	uint64_t patience;
	bool ever_up;
	struct nfs_page page;
	struct nfs_ids *ids;
};

struct rpc_context *nfs_conn_rpc(struct nfs_conn *c)
{
	return c->rpc;
}
struct nfs *nfs_conn_source(struct nfs_conn *c)
{
	return c->nfs;
}
struct nfs_page *nfs_conn_page(struct nfs_conn *c)
{
	return &c->page;
}
struct nfs_ids *nfs_conn_ids(struct nfs_conn *c)
{
	return c->ids;
}
unsigned nfs_conn_load(struct nfs_conn *c)
{
	return atomic_load_explicit(&c->load, memory_order_relaxed);
}

/* ---- trouble, for status lines ---- */

static void set_trouble(struct nfs_conn *c, const char *why)
{
	pthread_mutex_lock(&c->lock);
	if (why) {
		if (!c->why[0])
			c->trouble_since = c->now;
		snprintf(c->why, sizeof c->why, "%s port %u: %s", c->nfs->url.host, c->nfs->port, why);
	} else {
		c->why[0] = 0;
	}
	pthread_mutex_unlock(&c->lock);
}

uint64_t nfs_conn_trouble(struct nfs_conn *c, char *why, size_t size)
{
	uint64_t since = 0;

	pthread_mutex_lock(&c->lock);
	if (c->why[0]) {
		since = clock_mono() - c->trouble_since + 1;
		snprintf(why, size, "%s", c->why);
	}
	pthread_mutex_unlock(&c->lock);
	return since;
}

/* ---- requests ---- */

static uint64_t get_time(const struct source_req *req)
{
	return (uint64_t)(uintptr_t)req->hook[3];
}
static void set_time(struct source_req *req, uint64_t t)
{
	req->hook[3] = (void *)(uintptr_t)t;
}

void nfs_conn_finish(struct source_req *req, int err)
{
	struct nfs_conn *c = nfs_conn_of(req);
	struct nfs *n = c->nfs;

	if (req->hook[4]) {	/* out of in_flight */
		req->hook[4] = NULL;
		list_remove(check_link(req));
		c->calls--;
	}
	atomic_fetch_sub_explicit(&c->load, 1, memory_order_relaxed);
	if (!err && req->op == SOURCE_READ)
		atomic_fetch_add_explicit(&n->bytes[req->lane], req->out_length, memory_order_relaxed);
	atomic_fetch_add_explicit(&n->requests[req->lane], 1, memory_order_relaxed);
	check_finish(req, err);
}

void nfs_conn_again(struct source_req *req, uint64_t delay_ns)
{
	struct nfs_conn *c = nfs_conn_of(req);

	if (req->hook[4]) {
		req->hook[4] = NULL;
		list_remove(check_link(req));
		c->calls--;
	}
	atomic_fetch_add_explicit(&c->nfs->retries, 1, memory_order_relaxed);
	check_reset(req);
	set_time(req, c->now + delay_ns);
	list_append(delay_ns ? &c->delayed : &c->waiting, check_link(req));
}

static void broken(struct nfs_conn *c, const char *why)
{
	if (!c->broken)
		snprintf(c->broken_why, sizeof c->broken_why, "%s", why ? why : "connection lost");
	c->broken = true;
}

/*
 * libnfs 4.0 tells a lost connection from a refused call only by the text
 * that comes with RPC_STATUS_ERROR (lib/pdu.c rpc_process_reply()).  A service
 * that is not there (yet), or that fails as a whole, is waited for.
 */
int nfs_conn_part(struct nfs_conn *c, int status, const void *data)
{
	const char *text = data;

	if (status == RPC_STATUS_SUCCESS)
		return 0;
	if (status == RPC_STATUS_ERROR && text) {
		if (!strcmp(text, "Message rejected by server") ||
		    !strcmp(text, "Server responded: Garbage arguments"))
			return -EPROTO;
		if (!strcmp(text, "RPC Packet not accepted by the server"))
			return -EACCES;
		if (!strcmp(text, "Server responded: Procedure not available"))
			return -EOPNOTSUPP;
		if (!strncmp(text, "Server responded", 16))
			broken(c, text + 18);
	}
	return NFS_CONN_LOST;
}

bool nfs_conn_reply(struct source_req *req, int status, const void *data)
{
	int r = nfs_conn_part(nfs_conn_of(req), status, data);

	if (r == NFS_CONN_LOST)
		nfs_conn_again(req, 0);
	else if (r)
		nfs_conn_finish(req, r);
	return r == 0;
}

/* ---- the connection ---- */

static void lost(struct nfs_conn *c, const char *why)
{
	struct rpc_context *rpc = c->rpc;
	bool idle = c->state == UP && list_empty(&c->in_flight) && list_empty(&c->waiting);

	if (idle) {	/* servers close idle connections: come back when there is work */
		c->retry_at = 0;
	} else {
		set_trouble(c, why);
		c->retry_at = c->now + c->retry_pause;
		c->retry_pause = c->retry_pause * 2 < RETRY_MAX ? c->retry_pause * 2 : RETRY_MAX;
	}
	c->rpc = NULL;
	c->state = DOWN;
	if (rpc)
		rpc_destroy_context(rpc);	/* fires all callbacks: in_flight -> waiting */
	assert(list_empty(&c->in_flight) && c->calls == 0);
	c->broken = false;
}

static void probe_done(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct nfs_conn *c = arg;

	(void)rpc;
	if (nfs_conn_part(c, status, data)) {
		broken(c, status == RPC_STATUS_ERROR ? data : NULL);
		return;
	}
	c->state = UP;
	c->retry_pause = RETRY_MIN;
	if (c->ever_up)
		atomic_fetch_add(&c->nfs->reconnects, 1);
	c->ever_up = true;
	set_trouble(c, NULL);
}

static void connected(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct nfs_conn *c = arg;

	if (status != RPC_STATUS_SUCCESS || c->nfs->proto->probe(rpc, probe_done, c)) {
		broken(c, status == RPC_STATUS_ERROR ? data : NULL);
		return;
	}
	c->state = PROBING;
	c->deadline = c->now + (c->patience < PROBE_MAX ? c->patience : PROBE_MAX);
}

static void start_connect(struct nfs_conn *c)
{
	char why[100];

	c->rpc = nfs_rpc_new(&c->nfs->url);
	if (!c->rpc) {
		lost(c, "out of memory");
		return;
	}
	c->state = CONNECTING;
	c->deadline = c->now + CONNECT_DEADLINE;
	if (nfs_connect(c->rpc, c->nfs->url.host, c->nfs->port, connected, c, why, sizeof why))
		lost(c, why);
}

static void send_waiting(struct nfs_conn *c)
{
	struct list *l;

	while (c->calls < IN_FLIGHT_MAX && (l = list_pop(&c->waiting))) {
		struct source_req *req = check_from_link(l);
		int r;

		if (c->calls == 0)
			c->heard = c->now;	/* silence counts from the first unanswered call */
		set_time(req, c->now);
		list_append(&c->in_flight, check_link(req));
		req->hook[4] = req;
		c->calls++;
		r = c->nfs->proto->send(c, c->rpc, req);
		if (r)
			nfs_conn_finish(req, r);
	}
	if (rpc_which_events(c->rpc) & POLLOUT && rpc_service(c->rpc, POLLOUT) < 0)
		broken(c, rpc_get_error(c->rpc));
}

static void take_due(struct nfs_conn *c)
{
	struct list *l = c->delayed.next;

	while (l != &c->delayed) {
		struct list *next = l->next;

		if (get_time(check_from_link(l)) <= c->now) {
			list_remove(l);
			list_append(&c->waiting, l);
		}
		l = next;
	}
}

/* When must the thread act although nothing arrives?  0 = never. */
static uint64_t next_event(struct nfs_conn *c)
{
	uint64_t at = 0, t;
	struct list *l;

	if (c->state == DOWN && !list_empty(&c->waiting))
		at = c->retry_at;
	else if (c->state == CONNECTING || c->state == PROBING)
		at = c->deadline;
	else if (c->state == UP && c->calls) {
		at = c->heard + c->patience;
		t = get_time(check_from_link(c->in_flight.next)) + REQUEST_DEADLINE;
		at = t < at ? t : at;
	}
	for (l = c->delayed.next; l != &c->delayed; l = l->next) {
		t = get_time(check_from_link(l));
		at = !at || t < at ? t : at;
	}
	return at;
}

static void check_deadlines(struct nfs_conn *c)
{
	char why[100];

	if (c->state == CONNECTING && c->now >= c->deadline) {
		lost(c, "no answer to the connection attempt");
	} else if ((c->state == PROBING && c->now >= c->deadline) ||
		   (c->state == UP && c->calls && c->now >= c->heard + c->patience)) {
		snprintf(why, sizeof why, "no answer for %u s", (unsigned)(c->patience / CLOCK_SEC));
		c->patience = c->patience * 2 < PATIENCE_MAX ? c->patience * 2 : PATIENCE_MAX;
		lost(c, why);
	} else if (c->state == UP && c->calls &&
		   c->now >= get_time(check_from_link(c->in_flight.next)) + REQUEST_DEADLINE) {
		lost(c, "one request has had no answer for too long");
	}
}

/* False: the source is being closed. */
static bool take_inbox(struct nfs_conn *c)
{
	bool closing;

	pthread_mutex_lock(&c->lock);
	list_splice(&c->waiting, &c->inbox);
	c->woken = false;
	closing = c->closing;
	if (c->state == UP && c->calls && !c->why[0] && c->now > c->heard + QUIET) {
		c->trouble_since = c->heard;
		snprintf(c->why, sizeof c->why, "%s port %u: no answer for some seconds",
			 c->nfs->url.host, c->nfs->port);
	} else if (c->state == UP && c->why[0] && c->now <= c->heard + QUIET) {
		c->why[0] = 0;
	}
	pthread_mutex_unlock(&c->lock);
	return !closing;
}

static int poll_timeout(struct nfs_conn *c)
{
	uint64_t at = next_event(c), ms;
	bool more;

	pthread_mutex_lock(&c->lock);
	more = !list_empty(&c->inbox);
	pthread_mutex_unlock(&c->lock);
	if (more)
		return 0;
	if (c->state == UP && c->calls && (!at || at > c->now + CLOCK_SEC))
		at = c->now + CLOCK_SEC;	/* to notice silence for the status line */
	if (!at)
		return -1;
	if (at <= c->now)
		return 0;
	ms = (at - c->now + CLOCK_MS - 1) / CLOCK_MS;
	return ms < 60000 ? (int)ms : 60000;
}

static void wait_and_serve(struct nfs_conn *c)
{
	struct pollfd p[2] = { { .fd = c->wake_fd, .events = POLLIN }, { .fd = -1 } };
	uint64_t drain;

	if (c->rpc) {
		p[1].fd = rpc_get_fd(c->rpc);
		p[1].events = (short)rpc_which_events(c->rpc);
	}
	if (poll(p, 2, poll_timeout(c)) < 0 && errno != EINTR)
		abort();
	c->now = clock_mono();
	if (p[0].revents && read(c->wake_fd, &drain, sizeof drain) < 0 && errno != EAGAIN)
		abort();
	if (!p[1].revents)
		return;
	if (p[1].revents & POLLIN && c->state == UP) {
		c->heard = c->now;
		c->patience = PATIENCE_MIN;
	}
	if (rpc_service(c->rpc, nfs_revents(p[1].revents)) < 0)
		broken(c, rpc_get_error(c->rpc));
}

static void cancel_all(struct nfs_conn *c)
{
	struct list *l;

	list_splice(&c->waiting, &c->delayed);
	while ((l = list_pop(&c->waiting)))
		nfs_conn_finish(check_from_link(l), -ECANCELED);
}

static void *run(void *arg)
{
	struct nfs_conn *c = arg;

	pthread_mutex_lock(&c->lock);
	c->self = pthread_self();
	pthread_mutex_unlock(&c->lock);
	c->now = clock_mono();
	while (take_inbox(c)) {
		take_due(c);
		if (c->state == DOWN && c->now >= c->retry_at &&
		    (!list_empty(&c->waiting) || !c->ever_up))
			start_connect(c);
		if (c->state == UP)
			send_waiting(c);
		if (!c->broken)
			wait_and_serve(c);
		if (c->broken)
			lost(c, c->broken_why);
		check_deadlines(c);
	}
	lost(c, "closed");
	take_inbox(c);
	cancel_all(c);
	return NULL;
}

/* ---- from other threads ---- */

static void wake(struct nfs_conn *c)
{
	uint64_t one = 1;

	if (write(c->wake_fd, &one, sizeof one) < 0 && errno != EAGAIN)
		abort();
}

void nfs_conn_submit(struct nfs_conn *c, struct source_req *req)
{
	bool woken, own;

	req->hook[2] = c;
	req->hook[4] = NULL;
	atomic_fetch_add_explicit(&c->load, 1, memory_order_relaxed);
	pthread_mutex_lock(&c->lock);
	list_append(&c->inbox, check_link(req));
	woken = c->woken;
	c->woken = true;
	own = pthread_equal(c->self, pthread_self());	/* from done(): looks before it sleeps */
	pthread_mutex_unlock(&c->lock);
	if (!woken && !own)
		wake(c);
}

static int start_thread(struct nfs_conn *c)
{
	pthread_attr_t a;
	int r = pthread_attr_init(&a);

	if (r)
		return -r;
	r = pthread_attr_setstacksize(&a, STACK);
	if (!r)
		r = pthread_create(&c->thread, &a, run, c);
	pthread_attr_destroy(&a);
	return -r;
}

static void destroy(struct nfs_conn *c)
{
	if (c->wake_fd >= 0)
		close(c->wake_fd);
	nfs_page_free(&c->page);
	nfs_ids_free(c->ids);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

int nfs_conn_new(struct nfs *n, struct nfs_conn **out)
{
	struct nfs_conn *c = calloc(1, sizeof *c);
	int r;

	if (!c)
		return -ENOMEM;
	c->nfs = n;
	c->patience = PATIENCE_MIN;
	c->retry_pause = RETRY_MIN;
	pthread_mutex_init(&c->lock, NULL);
	list_init(&c->inbox);
	list_init(&c->waiting);
	list_init(&c->in_flight);
	list_init(&c->delayed);
	c->ids = nfs_ids_new();
	c->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	r = c->wake_fd < 0 ? -errno : c->ids ? start_thread(c) : -ENOMEM;
	if (r)
		destroy(c);
	else
		*out = c;
	return r;
}

void nfs_conn_free(struct nfs_conn *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->closing = true;
	pthread_mutex_unlock(&c->lock);
	wake(c);
	pthread_join(c->thread, NULL);
	destroy(c);
}
