/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Lets nfs-ganesha serve NFSv3 on a machine without rpcbind.
 *
 * Ganesha refuses to start when it cannot register its ports.  Tests give the
 * ports to the client themselves, so the registration is needed by nobody:
 * this library is loaded with LD_PRELOAD in front of libntirpc and answers
 * "registered" to its two registration calls (ntirpc/rpc/rpcb_clnt.h).
 */
#include <stdbool.h>
#include <stdint.h>

struct netconfig;
struct netbuf;

bool rpcb_set(uint32_t program, uint32_t version, const struct netconfig *conf,
	      const struct netbuf *address);
bool rpcb_unset(uint32_t program, uint32_t version, const struct netconfig *conf);

bool rpcb_set(uint32_t program, uint32_t version, const struct netconfig *conf,
	      const struct netbuf *address)
{
	(void)program;
	(void)version;
	(void)conf;
	return address != 0;
}

bool rpcb_unset(uint32_t program, uint32_t version, const struct netconfig *conf)
{
	(void)program;
	(void)version;
	(void)conf;
	return true;
}
