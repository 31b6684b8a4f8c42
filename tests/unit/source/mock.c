/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "mock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNS 64

struct mock {
	int listener;
	uint16_t port;
	void (*answer)(const struct mock_call *c, struct mock_out *out, void *arg);
	void *arg;
	pthread_mutex_t lock;
	pthread_t acceptor, threads[CONNS];
	int fds[CONNS];
	unsigned conns;
	struct mock_out out;	/* under lock */
};

struct conn {
	struct mock *mock;
	int fd;
};

void mock_u32(struct mock_out *o, uint32_t v)
{
	v = htonl(v);
	memcpy(o->bytes + o->len, &v, 4);
	o->len += 4;
}
void mock_u64(struct mock_out *o, uint64_t v)
{
	mock_u32(o, (uint32_t)(v >> 32));
	mock_u32(o, (uint32_t)v);
}
void mock_bytes(struct mock_out *o, const void *p, uint32_t len)
{
	mock_u32(o, len);
	memset(o->bytes + o->len, 0, (len + 3) & ~3u);
	memcpy(o->bytes + o->len, p, len);
	o->len += (len + 3) & ~3u;
}

void mock_fattr(struct mock_out *o, uint32_t type, uint64_t size)
{
	int i;

	mock_u32(o, type);
	mock_u32(o, 0755);
	mock_u32(o, 1);
	mock_u32(o, 10);	/* uid, gid */
	mock_u32(o, 20);
	mock_u64(o, size);
	mock_u64(o, 4096);
	mock_u64(o, 0);		/* rdev */
	mock_u64(o, 1);		/* fsid, fileid */
	mock_u64(o, 2);
	for (i = 0; i < 3; i++) {
		mock_u32(o, 1000);
		mock_u32(o, 5);
	}
}

void mock_honest(const struct mock_call *c, struct mock_out *o)
{
	switch (c->proc) {
	case MOCK_NULL:
		break;
	case MOCK_MNT:
		mock_u32(o, 0);
		mock_bytes(o, "root", 4);
		mock_u32(o, 1);
		mock_u32(o, 1);
		break;
	case MOCK_FSINFO:
		mock_u32(o, 0);
		mock_u32(o, 0);			/* no attributes */
		mock_u32(o, 65536);		/* rtmax */
		for (int i = 0; i < 6; i++)
			mock_u32(o, 65536);
		mock_u64(o, 1ull << 60);
		mock_u32(o, 0);			/* time_delta */
		mock_u32(o, 1);
		mock_u32(o, 0);
		break;
	case MOCK_GETATTR:
		mock_u32(o, 0);
		mock_fattr(o, 2, 4096);
		break;
	default:
		mock_u32(o, 10004);		/* NFS3ERR_NOTSUPP */
	}
}

static bool all(int fd, unsigned char *p, size_t n, bool out)
{
	while (n) {
		ssize_t k = out ? send(fd, p, n, MSG_NOSIGNAL) : recv(fd, p, n, 0);

		if (k <= 0)
			return false;
		p += k;
		n -= (size_t)k;
	}
	return true;
}

static uint32_t word(const unsigned char *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return ntohl(v);
}

/* xid, CALL, 2, program, version, procedure, credential, verifier, arguments */
static bool parse(const unsigned char *msg, size_t len, struct mock_call *c)
{
	size_t at = 24;

	if (len < 40)
		return false;
	c->xid = word(msg);
	c->proc = (int)word(msg + 20) + (word(msg + 12) == 100005 ? 100 : 0);
	at += 8 + ((word(msg + at + 4) + 3) & ~3u);
	if (at + 8 > len)
		return false;
	at += 8 + ((word(msg + at + 4) + 3) & ~3u);
	if (at > len)
		return false;
	c->args = msg + at;
	c->args_len = len - at;
	return true;
}

static bool reply(struct conn *k, const struct mock_call *c)
{
	struct mock_out *o = &k->mock->out;
	unsigned char head[28];
	uint32_t h[7];
	bool ok;
	int i;

	o->len = 0;
	o->raw = o->hangup = false;
	o->accept = 0;
	k->mock->answer(c, o, k->mock->arg);
	if (o->hangup)
		return false;
	h[0] = 0x80000000u | (uint32_t)(o->len + 24);
	h[1] = c->xid;
	h[2] = 1;	/* REPLY, accepted, verifier of nothing, accept_stat */
	h[3] = h[4] = h[5] = 0;
	h[6] = o->accept;
	for (i = 0; i < 7; i++)
		h[i] = htonl(h[i]);
	memcpy(head, h, 28);
	ok = o->raw || all(k->fd, head, 28, true);
	return ok && all(k->fd, o->bytes, o->len, true);
}

static void *serve(void *arg)
{
	struct conn *k = arg;
	unsigned char mark[4], *msg = calloc(1, 70000);
	struct mock_call c;
	bool ok = true;

	while (ok && all(k->fd, mark, 4, false)) {
		size_t len = word(mark) & 0x7fffffff;

		memset(msg, 0, 70000);
		ok = len < 65536 && all(k->fd, msg, len, false) && parse(msg, len, &c);
		if (ok) {
			pthread_mutex_lock(&k->mock->lock);
			ok = reply(k, &c);
			pthread_mutex_unlock(&k->mock->lock);
		}
	}
	shutdown(k->fd, SHUT_RDWR);
	free(msg);
	free(k);
	return NULL;
}

static void *accept_all(void *arg)
{
	struct mock *m = arg;
	int fd;

	while (m->conns < CONNS && (fd = accept(m->listener, NULL, NULL)) >= 0) {
		struct conn *k = malloc(sizeof *k);
		int one = 1;

		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		*k = (struct conn){ m, fd };
		m->fds[m->conns] = fd;
		pthread_create(&m->threads[m->conns++], NULL, serve, k);
	}
	return NULL;
}

struct mock *mock_start(void (*answer)(const struct mock_call *c, struct mock_out *out, void *arg),
			void *arg)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct mock *m = calloc(1, sizeof *m);
	socklen_t n = sizeof a;

	m->answer = answer;
	m->arg = arg;
	m->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bind(m->listener, (void *)&a, sizeof a);
	listen(m->listener, 64);
	getsockname(m->listener, (void *)&a, &n);
	m->port = ntohs(a.sin_port);
	pthread_mutex_init(&m->lock, NULL);
	pthread_create(&m->acceptor, NULL, accept_all, m);
	return m;
}

uint16_t mock_port(struct mock *m)
{
	return m->port;
}

void mock_stop(struct mock *m)
{
	unsigned i;

	shutdown(m->listener, SHUT_RDWR);
	pthread_join(m->acceptor, NULL);
	close(m->listener);
	for (i = 0; i < m->conns; i++) {
		shutdown(m->fds[i], SHUT_RDWR);
		pthread_join(m->threads[i], NULL);
		close(m->fds[i]);
	}
	pthread_mutex_destroy(&m->lock);
	free(m);
}
