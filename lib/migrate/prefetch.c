/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
#include "lib/migrate/prefetch.h"

#include <string.h>

void prefetch_init(struct prefetch *prefetch)
{
	memset(prefetch, 0, sizeof(*prefetch));
	prefetch->window = PREFETCH_MIN;
}

/* The walk that the fault continues, or NULL; a walk may skip as much as was sent ahead of it. */
static struct prefetch_walk *continued(struct prefetch *prefetch, uint64_t number)
{
	for (unsigned int i = 0; i < PREFETCH_WALKS; i++) {
		struct prefetch_walk *w = &prefetch->walk[i];

		if (w->window && number >= w->first && number < w->end + w->window)
			return w;
	}
	return NULL;
}

static struct prefetch_walk *oldest(struct prefetch *prefetch)
{
	struct prefetch_walk *w = &prefetch->walk[0];

	for (unsigned int i = 1; i < PREFETCH_WALKS; i++)
		if (prefetch->walk[i].used < w->used)
			w = &prefetch->walk[i];
	return w;
}

uint64_t prefetch_fault(struct prefetch *prefetch, uint64_t number, unsigned int *n)
{
	struct prefetch_walk *w = continued(prefetch, number);

	if (w) {
		w->window = w->window * 2 < PREFETCH_MAX ? w->window * 2 : PREFETCH_MAX;
		prefetch->window = w->window;
	} else {
		prefetch->window =
			prefetch->window / 2 > PREFETCH_MIN ? prefetch->window / 2 : PREFETCH_MIN;
		w = oldest(prefetch);
		w->window = prefetch->window;
	}
	w->used = ++prefetch->clock;
	w->first = number + 1;
	w->end = w->first + w->window;
	*n = w->window;
	return w->first;
}
