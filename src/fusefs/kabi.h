/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The FUSE protocol as far as it is newer than libfuse 3.14's headers.
 *
 * Numbers are kernel ABI (Linux 6.18, include/uapi/linux/fuse.h, 7.45).  The
 * init flags are only ever sent back when the kernel offered them.
 */
#ifndef DMM_FUSEFS_KABI_H
#define DMM_FUSEFS_KABI_H

#include <linux/fuse.h>
#include <stdint.h>
#include <sys/ioctl.h>

/* fuse_init_out.flags */
#define KABI_HANDLE_KILLPRIV_V2 (1u << 28)
#define KABI_SETXATTR_EXT (1u << 29)
#define KABI_INIT_EXT (1u << 30)
/* fuse_init_out.flags2: bits 32..63 of the flags */
#define KABI_DIRECT_IO_ALLOW_MMAP (1u << 4)	/* bit 36 */
#define KABI_PASSTHROUGH (1u << 5)		/* bit 37 */
#define KABI_HAS_RESEND (1u << 7)		/* bit 39 */

/* struct fuse_init_out as 32-bit words */
enum { KABI_INIT_OUT_FLAGS = 3, KABI_INIT_OUT_FLAGS2 = 8, KABI_INIT_OUT_STACK = 9, KABI_INIT_OUT_WORDS = 16 };

/* fuse_open_out.open_flags; the backing id is in what older headers call padding */
#define KABI_FOPEN_PASSTHROUGH (1u << 7)

/* the high bit of a request id: sent again after a takeover */
#define KABI_UNIQUE_RESEND (1ull << 63)

#define KABI_NOTIFY_INC_EPOCH 8

struct kabi_backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};
#define KABI_DEV_IOC_BACKING_OPEN _IOW(229, 1, struct kabi_backing_map)
#define KABI_DEV_IOC_BACKING_CLOSE _IOW(229, 2, uint32_t)

#define KABI_OPEN_EXEC 0x20u	/* FMODE_EXEC in open flags: execve(2) opens the file */

#endif
