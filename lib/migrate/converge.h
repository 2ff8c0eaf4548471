/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * When to stop the guest: a pure judgement from what was measured, round by round. The last round,
 * with the guest stopped, must move what is dirty then; its time is estimated by the bandwidth of
 * the rounds so far.
 */
#ifndef LIB_MIGRATE_CONVERGE_H
#define LIB_MIGRATE_CONVERGE_H

#include <stdbool.h>
#include <stdint.h>

enum converge_verdict {
	CONVERGE_ANOTHER_ROUND,
	CONVERGE_STOP, /* stop the guest and send the rest */
	CONVERGE_POSTCOPY, /* it will not converge: hand over with pages missing */
	CONVERGE_GIVE_UP, /* it will not converge, and there is no other way */
};

struct converge_limits {
	uint64_t max_downtime; /* ns */
	/* ns: what a stop costs without any page: state, manifest, commit */
	uint64_t fixed_downtime;
	bool throttle; /* vCPUs may be slowed down */
	bool postcopy; /* the guest may go over with pages missing */
	/* at the latest after so many rounds; 0: when there is no progress */
	unsigned int postcopy_after;
	/*
	 * rounds without progress before throttling or post-copy; the last resort, giving up, comes
	 * later
	 */
	unsigned int patience;
	unsigned int max_rounds;
	/* what to do with a round that says overtime and does not allow a stop */
	enum converge_verdict overtime;
};

/*
 * One round as it was: all pages that were dirty at its beginning were sent, meanwhile others
 * became dirty.
 */
struct converge_round {
	uint64_t bytes; /* sent */
	uint64_t time; /* ns */
	uint64_t pages_left; /* dirty now */
	uint64_t flush; /* ns: what flushing the guest's disks took */
	bool overtime; /* the time for the migration is over */
};

struct converge {
	struct converge_limits limits;
	unsigned int rounds;
	unsigned int stuck; /* rounds in a row in which the estimate did not fall by a tenth */
	unsigned int throttle; /* per cent taken from the vCPUs now */
	uint64_t rate; /* bytes a second, smoothed */
	uint64_t dirty_rate; /* bytes a second */
	uint64_t expected_downtime; /* ns, if stopped now */
	uint64_t best; /* the smallest estimate so far */
};

void converge_init(struct converge *c, const struct converge_limits *limits);

/* Judge after a round. c->throttle is what the vCPUs should be slowed down by from now on. */
enum converge_verdict converge_judge(struct converge *c, const struct converge_round *round);

#endif
