/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sev-host-tsc: prints this machine's TSC frequency in kHz. QEMU's TCG hands the TSC through to an
 * emulated host, whose kernel would measure it against an emulated timer: on a busy machine a
 * quarter of the truth was seen. Another CPU than x86: prints nothing.
 */
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#ifdef __x86_64__
#include <x86intrin.h>

#define TRIES  100
#define GAP_NS 50000000

struct moment {
	uint64_t ns, ticks;
};

static uint64_t clock_raw_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Both clocks at once: the try that was interrupted least. */
static struct moment now(void)
{
	struct moment best = { 0 };
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < TRIES; i++) {
		uint64_t before = __rdtsc(), ns = clock_raw_ns(), after = __rdtsc();

		if (after - before >= least)
			continue;
		least = after - before;
		best = (struct moment){ ns, before + least / 2 };
	}
	return best;
}

int main(void)
{
	struct timespec gap = { .tv_nsec = GAP_NS };
	struct moment start = now(), end;

	nanosleep(&gap, NULL);
	end = now();
	printf("%llu\n",
	       (unsigned long long)((end.ticks - start.ticks) * 1000000 / (end.ns - start.ns)));
	return 0;
}
#else
int main(void)
{
	return 0;
}
#endif
