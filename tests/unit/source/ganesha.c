/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ganesha.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define PROGRAM "/usr/bin/ganesha.nfsd"

struct ganesha {
	char dir[512], conf[600], log[600];
	uint16_t port[4];	/* NFS, MOUNT, NLM, RQUOTA */
	pid_t pid;
};

bool ganesha_possible(void)
{
	return geteuid() == 0 && access(PROGRAM, X_OK) == 0 && getenv("NORPCBIND") &&
	       access(getenv("NORPCBIND"), R_OK) == 0;
}

static int loopback(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (port ? connect(s, (void *)&a, sizeof a) : bind(s, (void *)&a, sizeof a)) {
		close(s);
		return -1;
	}
	return s;
}

static uint16_t port_of(int s)
{
	struct sockaddr_in a;
	socklen_t n = sizeof a;

	getsockname(s, (void *)&a, &n);
	return ntohs(a.sin_port);
}

uint16_t ganesha_free_port(void)
{
	int s = loopback(0);
	uint16_t port = port_of(s);

	close(s);
	return port;
}

/* All four at once, so that they differ. */
static void choose_ports(struct ganesha *g)
{
	int s[4], i;

	for (i = 0; i < 4; i++) {
		s[i] = loopback(0);
		g->port[i] = port_of(s[i]);
	}
	for (i = 0; i < 4; i++)
		close(s[i]);
}

static bool write_conf(struct ganesha *g, const char *tree)
{
	FILE *f = fopen(g->conf, "we");

	if (!f)
		return false;
	fprintf(f,
		"NFS_CORE_PARAM {\n"
		"\tNFS_Port = %u; MNT_Port = %u; NLM_Port = %u; Rquota_Port = %u;\n"
		"\tBind_addr = 127.0.0.1; Enable_UDP = false; Enable_NLM = false;\n"
		"\tEnable_RQUOTA = false; Protocols = 3,4; mount_path_pseudo = true;\n"
		"\tPlugins_Dir = \"/usr/lib/x86_64-linux-gnu/ganesha\";\n}\n"
		"NFS_KRB5 { Active_krb5 = false; }\n"
		"NFSv4 {\n\tGraceless = true; RecoveryBackend = fs; RecoveryRoot = \"%s/recovery\";\n"
		"\tOnly_Numeric_Owners = true;\n}\n"
		"EXPORT {\n\tExport_Id = 1; Path = %s; Pseudo = /tree; Access_Type = RO;\n"
		"\tSquash = no_root_squash; SecType = sys; Protocols = 3,4; Transports = TCP;\n"
		"\tAttr_Expiration_Time = 0; FSAL { Name = VFS; }\n}\n",
		g->port[0], g->port[1], g->port[2], g->port[3], g->dir, tree);
	return fclose(f) == 0;
}

static bool ready(struct ganesha *g)
{
	char line[1024];
	FILE *f = fopen(g->log, "re");
	bool found = false;
	int s;

	if (!f)
		return false;
	while (!found && fgets(line, sizeof line, f))
		found = strstr(line, "NFS SERVER INITIALIZED");
	fclose(f);
	s = found ? loopback(g->port[0]) : -1;
	if (s >= 0)
		close(s);
	return s >= 0;
}

static void child(struct ganesha *g)
{
	char pid_file[600];
	int null = open("/dev/null", O_RDWR);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	snprintf(pid_file, sizeof pid_file, "%s/pid", g->dir);
	setenv("LD_PRELOAD", getenv("NORPCBIND"), 1);
	execl(PROGRAM, PROGRAM, "-F", "-f", g->conf, "-L", g->log, "-p", pid_file, "-N", "EVENT",
	      (char *)NULL);
	_exit(127);
}

bool ganesha_restart(struct ganesha *g)
{
	uint64_t end = clock_mono() + 15 * CLOCK_SEC;

	unlink(g->log);
	g->pid = fork();
	if (g->pid == 0)
		child(g);
	while (clock_mono() < end) {
		if (ready(g))
			return true;
		if (waitpid(g->pid, NULL, WNOHANG) == g->pid)
			break;
		usleep(10000);
	}
	fprintf(stderr, "ganesha does not start, see %s\n", g->log);
	return false;
}

struct ganesha *ganesha_start(const char *dir, const char *tree)
{
	struct ganesha *g = calloc(1, sizeof *g);
	char path[600];

	snprintf(g->dir, sizeof g->dir, "%s", dir);
	snprintf(g->conf, sizeof g->conf, "%s/ganesha.conf", dir);
	snprintf(g->log, sizeof g->log, "%s/ganesha.log", dir);
	snprintf(path, sizeof path, "%s/recovery", dir);
	mkdir(path, 0755);
	choose_ports(g);
	if (write_conf(g, tree) && ganesha_restart(g))
		return g;
	free(g);
	return NULL;
}

void ganesha_signal(struct ganesha *g, int sig)
{
	kill(g->pid, sig);
	if (sig == SIGKILL)
		waitpid(g->pid, NULL, 0);
}

void ganesha_stop(struct ganesha *g)
{
	ganesha_signal(g, SIGKILL);
	free(g);
}

char *ganesha_url(struct ganesha *g, unsigned version, const char *path, char *buf, size_t size)
{
	if (version == 4)
		snprintf(buf, size, "nfs://127.0.0.1:%u%s?version=4", g->port[0], path);
	else
		snprintf(buf, size, "nfs://127.0.0.1:%u%s?version=3&mountport=%u", g->port[0], path,
			 g->port[1]);
	return buf;
}

uint16_t ganesha_nfs_port(struct ganesha *g)
{
	return g->port[0];
}
uint16_t ganesha_mount_port(struct ganesha *g)
{
	return g->port[1];
}
