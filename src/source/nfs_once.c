/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "nfs_once.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"

#define STEP_DEADLINE (10 * CLOCK_SEC)

/*
 * libnfs 4.0 chooses the transaction id and the reserved port of a new
 * connection through plain static variables and getservbyport().
 */
static pthread_mutex_t libnfs_statics = PTHREAD_MUTEX_INITIALIZER;

struct rpc_context *nfs_rpc_new(const struct url *u)
{
	struct rpc_context *rpc;
	struct AUTH *auth = libnfs_authunix_create("dmm", u->uid, u->gid, 0, NULL);

	if (!auth)
		return NULL;
	pthread_mutex_lock(&libnfs_statics);
	rpc = rpc_init_context();
	pthread_mutex_unlock(&libnfs_statics);
	if (!rpc) {
		libnfs_auth_destroy(auth);
		return NULL;
	}
	rpc_set_auth(rpc, auth);
	return rpc;
}

/* The host's first address as digits; asked anew for each connection, it may have moved. */
static int resolve(const char *host, char *out, size_t size)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *ai;
	int r = getaddrinfo(host, NULL, &hints, &ai);

	if (r)
		return r;
	r = getnameinfo(ai->ai_addr, ai->ai_addrlen, out, (socklen_t)size, NULL, 0, NI_NUMERICHOST);
	freeaddrinfo(ai);
	return r;
}

int nfs_connect(struct rpc_context *rpc, const char *host, uint16_t port, rpc_cb cb, void *arg,
		char *why, size_t size)
{
	char address[128];
	int one = 1, r = resolve(host, address, sizeof address);

	if (r) {	/* outside the lock: a name server may take its time */
		snprintf(why, size, "%s", gai_strerror(r));
		return -EHOSTUNREACH;
	}
	pthread_mutex_lock(&libnfs_statics);
	r = rpc_connect_async(rpc, address, port, cb, arg);
	pthread_mutex_unlock(&libnfs_statics);
	if (r) {
		snprintf(why, size, "%s", rpc_get_error(rpc));
		return -ECONNREFUSED;
	}
	/* without it, pipelined calls wait for acknowledgements (FACTS: 30 k -> 39 k files/s) */
	setsockopt(rpc_get_fd(rpc), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(rpc_get_fd(rpc), SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
	return 0;
}

bool nfs_once_reply(struct nfs_once *o, int status, const void *data)
{
	const char *text = status == RPC_STATUS_ERROR && data ? data : "no answer";

	o->answered = true;
	o->ok = status == RPC_STATUS_SUCCESS;
	if (strstr(text, "reconnect"))	/* libnfs's words for it */
		text = "closed the connection";
	if (!o->ok)
		snprintf(o->text, sizeof o->text, "%s", text);
	return o->ok;
}

static void connected(struct rpc_context *rpc, int status, void *data, void *arg)
{
	(void)rpc;
	nfs_once_reply(arg, status, data);
}

int nfs_once_wait(struct nfs_once *o, int queued, const char *what, struct err *e)
{
	uint64_t end = clock_mono() + STEP_DEADLINE, now;

	if (queued)
		return err_set(e, ENOMEM, "%s at %s port %u: %s", what, o->host, o->port,
			       rpc_get_error(o->rpc));
	while (!o->answered && (now = clock_mono()) < end) {
		struct pollfd p = { .fd = rpc_get_fd(o->rpc),
				    .events = (short)rpc_which_events(o->rpc) };
		int n = poll(&p, 1, (int)((end - now) / CLOCK_MS) + 1);

		if (n > 0 && rpc_service(o->rpc, nfs_revents(p.revents)) < 0 && !o->answered)
			return err_set(e, ECONNRESET, "%s at %s port %u closed the connection", what,
				       o->host, o->port);
	}
	if (!o->answered)
		return err_set(e, ETIMEDOUT, "%s at %s port %u does not answer", what, o->host, o->port);
	o->answered = false;
	return o->ok ? 0 : err_set(e, EIO, "%s at %s port %u: %s", what, o->host, o->port, o->text);
}

/* libnfs reports a refused connection only in words. */
static int connect_error(struct nfs_once *o, const char *what, struct err *e)
{
	if (strstr(o->text, "refused"))
		return err_set(e, ECONNREFUSED, "%s: connection refused at %s port %u", what, o->host,
			       o->port);
	return err_set(e, EIO, "%s: cannot connect to %s port %u: %s", what, o->host, o->port, o->text);
}

int nfs_once_connect(struct nfs_once *o, const struct url *u, uint16_t port, const char *what,
		     struct err *e)
{
	int r;

	memset(o, 0, sizeof *o);
	o->host = u->host;
	o->port = port;
	o->rpc = nfs_rpc_new(u);
	if (!o->rpc)
		return err_sys(e, ENOMEM, "%s", what);
	if (nfs_connect(o->rpc, u->host, port, connected, o, o->text, sizeof o->text)) {
		r = connect_error(o, what, e);
	} else {
		r = nfs_once_wait(o, 0, what, e);
		if (r == -EIO)
			r = connect_error(o, what, e);
	}
	if (r)
		nfs_once_close(o);
	return r;
}

void nfs_once_close(struct nfs_once *o)
{
	if (o->rpc)
		rpc_destroy_context(o->rpc);
	o->rpc = NULL;
}
