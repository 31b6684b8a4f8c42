/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A real nfs-ganesha on loopback, for one test program.
 *
 * It exports one directory as /tree on free ports, without rpcbind, and can
 * be killed, stopped and started again on the same ports.  It dies with the
 * test (PR_SET_PDEATHSIG).
 */
#ifndef DMM_TEST_GANESHA_H
#define DMM_TEST_GANESHA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ganesha;

/* False: no ganesha on this machine, or no right to run it; the test is skipped. */
bool ganesha_possible(void);

/* Its files go to dir, which exists; tree is exported.  NULL after a message. */
struct ganesha *ganesha_start(const char *dir, const char *tree);
bool ganesha_restart(struct ganesha *g);	/* after ganesha_signal(SIGKILL) */
void ganesha_signal(struct ganesha *g, int sig);	/* SIGKILL also reaps */
void ganesha_stop(struct ganesha *g);

/* URL of path below the root of all exports ("/tree"); returns buf. */
char *ganesha_url(struct ganesha *g, unsigned version, const char *path, char *buf, size_t size);
uint16_t ganesha_nfs_port(struct ganesha *g);
uint16_t ganesha_mount_port(struct ganesha *g);

/* A port that nobody listens on. */
uint16_t ganesha_free_port(void);

#endif
