/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Before any page moves: both hosts say who they are, and whatever would make the guest fail later
 * is a refusal now that names it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include <linux/magic.h>

#include <openssl/rand.h>

#include "helper/protocol.h"
#include "lib/migrate/keep_alive.h"
#include "lib/migrate/message.h"
#include "lib/migrate/recover.h"
#include "lib/migrate/sealing.h"
#include "lib/migrate/session.h"
#include "lib/migrate/uffd.h"
#include "lib/mirror/region.h"
#include "lib/sev/sev_cpuid.h"
#include "lib/util/page.h"

/* What this side would like, before the other one was heard. */
static int my_hello(struct sevmirror_migration *m, struct wire_hello *hello)
{
	struct sev_cpuid cpuid;

	memset(hello, 0, sizeof(*hello));
	hello->major = WIRE_VERSION_MAJOR;
	hello->minor = WIRE_VERSION_MINOR;
	hello->helper_version = HELPER_ABI_VERSION;
	memcpy(hello->helper_digest, region_image_digest(), sizeof(hello->helper_digest));
	if (sev_cpuid_host(&cpuid) && cpuid.sev) {
		hello->flags |= WIRE_F_SEV;
		hello->cbit = cpuid.c_bit;
	}
	if (!m->is_source) {
		hello->streams = m->target.max_streams;
		if (m->uffd >= 0)
			hello->flags |= WIRE_F_POSTCOPY;
		return 0;
	}
	if (m->source.postcopy != SEVMIRROR_POSTCOPY_NEVER)
		hello->flags |= WIRE_F_POSTCOPY;
	if (!m->vm.sev) {
		hello->flags &= ~WIRE_F_SEV;
		hello->cbit = 0;
	}
	hello->streams = m->source.streams;
	hello->ram_bytes = m->numbering.npages * PAGE_BYTES;
	if (RAND_bytes(hello->session, sizeof(hello->session)) != 1 ||
	    RAND_bytes(hello->recovery_salt, sizeof(hello->recovery_salt)) != 1)
		return session_fail(m, -EIO, "the source cannot get random numbers");
	return 0;
}

/* Only that it begins with its version is the same in every version; what is not there is 0. */
static int recv_hello(struct sevmirror_migration *m, struct wire_hello *hello)
{
	void *body;
	size_t len;
	int err = session_recv_alloc(m, WIRE_HELLO, &body, &len);

	if (err)
		return err;
	memset(hello, 0, sizeof(*hello));
	memcpy(hello, body, len < sizeof(*hello) ? len : sizeof(*hello));
	free(body);
	if (len < sizeof(hello->major) ||
	    (hello->major == WIRE_VERSION_MAJOR && len != sizeof(*hello)))
		return session_fail(m, -EPROTO,
				    "%s sent a HELLO message of %zu bytes instead of %zu",
				    channel_peer(m->control), len, sizeof(*hello));
	return 0;
}

static int compare_versions(struct sevmirror_migration *m, const struct wire_hello *source,
			    const struct wire_hello *target)
{
	if (source->major == target->major)
		return 0;
	return session_fail_because(
		m, SEVMIRROR_REASON_INCOMPATIBLE, -EPROTO,
		"the source speaks version %u of the protocol, the target version %u: install the "
		"same sevmirror on both",
		source->major, target->major);
}

/* Judge source's and target's hello; run by both sides, so that each can say what is wrong. */
static int compare(struct sevmirror_migration *m, const struct wire_hello *source,
		   const struct wire_hello *target)
{
	if ((source->flags | target->flags) & ~WIRE_F_ALL)
		return session_fail(m, -EPROTO, "the HELLO messages have unknown flags (%#x)",
				    source->flags | target->flags);
	if (source->helper_version != target->helper_version ||
	    memcmp(source->helper_digest, target->helper_digest, sizeof(source->helper_digest)) !=
		    0)
		return session_fail_because(
			m, SEVMIRROR_REASON_INCOMPATIBLE, -EPROTO,
			"the source and the target have different builds of the Migration Helper: "
			"install the same sevmirror on both");
	if ((source->flags & WIRE_F_SEV) && !(target->flags & WIRE_F_SEV))
		return session_fail_because(
			m, SEVMIRROR_REASON_INCOMPATIBLE, -ENOTSUP,
			"the guest is encrypted by SEV, and the target has no SEV");
	if ((source->flags & WIRE_F_SEV) && source->cbit != target->cbit)
		return session_fail_because(
			m, SEVMIRROR_REASON_INCOMPATIBLE, -ENOTSUP,
			"the C-bit is at position %u on the source and %u on the target",
			source->cbit, target->cbit);
	if (source->streams == 0 || source->streams > WIRE_MAX_STREAMS || target->streams == 0)
		return session_fail(m, -EPROTO,
				    "the source wants %u data streams, 1 to %u are possible",
				    source->streams, WIRE_MAX_STREAMS);
	if (source->ram_bytes == 0)
		return session_fail(m, -EPROTO, "the source sent a guest without memory");
	/*
	 * The target refuses by itself, and says why; this is for one that has never heard of it.
	 */
	if ((source->flags & WIRE_F_POSTCOPY) && !(target->flags & WIRE_F_POSTCOPY))
		return session_fail_because(m, SEVMIRROR_REASON_POSTCOPY, -ENOTSUP,
					    "the target cannot do post-copy");
	return 0;
}

/* Post-copy is asked for: what it needs of this host must be there before any page moves. */
static int prepare_postcopy(struct sevmirror_migration *m)
{
	struct why why;

	m->uffd = uffd_open(m->target.uffd_device, &why);
	return m->uffd < 0 ? session_fail_because(m, SEVMIRROR_REASON_POSTCOPY, m->uffd,
						  "the target cannot do post-copy: %s", why.text) :
			     0;
}

/* A page of hugetlbfs can only be continued as a whole, and comes in 512 parts. */
static int check_page_size(struct sevmirror_migration *m)
{
	struct statfs fs;

	for (unsigned int i = 0; i < m->vm.nranges; i++)
		if (fstatfs(m->vm.ranges[i].fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC)
			return session_fail_because(
				m, SEVMIRROR_REASON_POSTCOPY, -ENOTSUP,
				"the target cannot do post-copy: its guest memory consists of huge "
				"pages");
	return 0;
}

/* What both have agreed on: the source's wishes within the target's means. */
static void agree(struct sevmirror_migration *m, const struct wire_hello *source,
		  const struct wire_hello *target)
{
	m->hello = *source;
	if (target->minor < m->hello.minor)
		m->hello.minor = target->minor;
	if (target->streams < m->hello.streams)
		m->hello.streams = target->streams;
	m->hello.flags &= target->flags | ~(uint32_t)WIRE_F_POSTCOPY;
}

static int send_section(struct sevmirror_migration *m, enum wire_type type,
			ssize_t (*save)(void *opaque, void *buf, size_t max))
{
	void *buf = malloc(WIRE_MAX_SECTION);
	ssize_t n = buf ? save(m->opaque, buf, WIRE_MAX_SECTION) : -ENOMEM;
	int err = n < 0 ? session_fail(m, (int)n, "the source cannot describe %s: %s",
				       wire_type_text((uint16_t)type), strerror((int)-n)) :
			  session_send(m, type, buf, (size_t)n);

	free(buf);
	return err;
}

static int recv_section(struct sevmirror_migration *m, enum wire_type type,
			int (*load)(void *opaque, const void *buf, size_t len, char *why,
				    size_t max))
{
	char why[HOST_WORDS_BYTES] = "";
	struct keep_alive keep_alive;
	void *buf;
	size_t len;
	int err = session_recv_alloc(m, type, &buf, &len);

	if (err)
		return err;
	err = keep_alive_begin(&keep_alive, m);
	if (!err) {
		err = load(m->opaque, buf, len, why, sizeof(why));
		keep_alive_end(&keep_alive);
	}
	free(buf);
	return err ? session_host_failed(m, SEVMIRROR_REASON_INCOMPATIBLE, err,
					 "the target cannot run this VM", why) :
		     0;
}

int handshake_source(struct sevmirror_migration *m, struct sevmirror_blob *offer)
{
	struct wire_hello mine, theirs;
	int err = my_hello(m, &mine);

	if (!err)
		err = session_send(m, WIRE_HELLO, &mine, sizeof(mine));
	if (!err)
		err = recv_hello(m, &theirs);
	/* A target that awaits TLS closes the connection when HELLO comes in the clear. */
	if (err && err != -ETIMEDOUT && m->source.security.insecure)
		why_append(&m->why, " (does the target run without --insecure?)");
	if (!err)
		err = compare_versions(m, &mine, &theirs);
	if (!err && memcmp(theirs.session, mine.session, sizeof(mine.session)) != 0)
		err = session_fail(m, -EPROTO, "the target answered for another session");
	if (!err)
		err = compare(m, &mine, &theirs);
	if (err)
		return err;
	agree(m, &mine, &theirs);
	err = recover_prepare(m);
	if (!err)
		err = send_section(m, WIRE_COMPAT, m->ops->compat_save);
	if (!err)
		err = send_section(m, WIRE_CONFIG, m->ops->config_save);
	if (!err)
		err = sealing_receive_offer(m, offer);
	return err;
}

/* The VM that config_load() built must be the one that the source spoke of. */
static int check_vm(struct sevmirror_migration *m)
{
	int err = m->ops->describe(m->opaque, &m->vm);

	if (!err)
		err = page_numbering_init(&m->numbering, &m->vm);
	if (err)
		return session_fail(m, err, "the target cannot describe the VM that it built: %s",
				    strerror(-err));
	if (m->numbering.npages * PAGE_BYTES != m->hello.ram_bytes)
		return session_fail_because(
			m, SEVMIRROR_REASON_INCOMPATIBLE, -EPROTO,
			"the VM has %llu bytes of memory on the source and %llu on the target",
			(unsigned long long)m->hello.ram_bytes,
			(unsigned long long)(m->numbering.npages * PAGE_BYTES));
	if (!!m->vm.sev != !!(m->hello.flags & WIRE_F_SEV))
		return session_fail(m, -EPROTO, "the VM is encrypted on only one of the hosts");
	if (m->hello.flags & WIRE_F_POSTCOPY)
		return check_page_size(m);
	return 0;
}

/* Both sides' HELLO: what the source wants must be what this target can. */
static int answer_hello(struct sevmirror_migration *m)
{
	struct wire_hello mine = { .major = WIRE_VERSION_MAJOR }, theirs;
	int err = recv_hello(m, &theirs);

	if (!err)
		err = compare_versions(m, &theirs, &mine);
	if (!err && theirs.flags & WIRE_F_POSTCOPY)
		err = prepare_postcopy(m);
	if (err)
		return err;
	err = my_hello(m, &mine);
	if (err)
		return err;
	memcpy(mine.session, theirs.session, sizeof(mine.session));
	err = compare(m, &theirs, &mine);
	if (!err)
		err = session_send(m, WIRE_HELLO, &mine, sizeof(mine));
	if (!err)
		agree(m, &theirs, &mine);
	return err;
}

/* The VM as the source describes it, built here. */
static int receive_vm(struct sevmirror_migration *m)
{
	int err = recv_section(m, WIRE_COMPAT, m->ops->compat_check);

	if (!err)
		err = recv_section(m, WIRE_CONFIG, m->ops->config_load);
	return err ? err : check_vm(m);
}

int handshake_target(struct sevmirror_migration *m)
{
	int err = answer_hello(m);

	if (err)
		return err;
	err = recover_prepare(m);
	if (!err)
		err = receive_vm(m);
	if (!err)
		err = sealing_create(m);
	return err ? err : sealing_send_offer(m);
}
