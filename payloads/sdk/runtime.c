/* SPDX-License-Identifier: Apache-2.0 */
#include "payloads/sdk/runtime.h"

#define PACE_SLEEP_US 100 /* below this, spin: an exit and back costs up to 30 us */
/* longer sleeps would hide in max_gap_tsc what it is there to show */
#define PACE_SLEEP_MAX_US 1000
#define PACE_BEHIND_US	  1000

/*
 * Private memory, so not the host's: the same on each vCPU, all but the flags fixed before a vCPU
 * gets to use them.
 */
static struct payload_shared *shared_area;
static uint32_t vcpu_total;
static uint32_t vcpus_done;
static uint32_t failed;
static uint32_t log_lock;
static uint64_t log_total;
static uint64_t last_beat[PAYLOAD_MAX_VCPUS];
static uint64_t beats[PAYLOAD_MAX_VCPUS];
static uint64_t max_gap[PAYLOAD_MAX_VCPUS];
static uint64_t errors[PAYLOAD_MAX_VCPUS];

void payload_start(const struct payload_params *params, uint64_t vcpu);

void *memset(void *to, int byte, size_t len)
{
	void *at = to;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(len) : "a"(byte) : "memory");
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t len)
{
	void *at = to;

	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(len) : : "memory");
	return to;
}

void *payload_memory(const struct payload_params *params, uint64_t gpa, uint64_t bytes)
{
	for (uint64_t i = 0; i < params->nram && i < PAYLOAD_RAM_MAX; i++) {
		const struct payload_ram *ram = &params->ram[i];

		if (gpa >= ram->gpa && gpa - ram->gpa < ram->bytes &&
		    bytes <= ram->bytes - (gpa - ram->gpa))
			return (void *)(params->ram_va + gpa);
	}
	return NULL;
}

struct payload_shared *payload_shared(void)
{
	return shared_area;
}

static void publish(uint64_t *field, uint64_t value)
{
	__atomic_store_n(field, value, __ATOMIC_RELAXED);
}

static void set_state(enum payload_state state)
{
	__atomic_store_n(&shared_area->state, state, __ATOMIC_RELEASE);
	payload_bell(PAYLOAD_BELL_STATE, 0);
}

void payload_beat(unsigned int vcpu)
{
	struct payload_vcpu *v = &shared_area->vcpu[vcpu];
	uint64_t now = payload_tsc(), last = last_beat[vcpu];

	if (last && now > last && now - last > max_gap[vcpu]) {
		max_gap[vcpu] = now - last;
		publish(&v->max_gap_tsc, max_gap[vcpu]);
	}
	last_beat[vcpu] = now;
	publish(&v->last_tsc, now);
	publish(&v->heartbeat, ++beats[vcpu]);
}

bool payload_stopping(void)
{
	return __atomic_load_n(&shared_area->command, __ATOMIC_RELAXED) == PAYLOAD_CMD_STOP;
}

void payload_count(unsigned int vcpu, unsigned int counter, uint64_t value)
{
	publish(&shared_area->vcpu[vcpu].counters[counter], value);
}

static void log_byte(char c)
{
	shared_area->log[log_total++ % PAYLOAD_LOG_BYTES] = c;
}

void payload_log(const char *text, uint64_t value)
{
	unsigned int shift = 60;

	while (__atomic_exchange_n(&log_lock, 1, __ATOMIC_ACQUIRE))
		__builtin_ia32_pause();
	while (*text)
		log_byte(*text++);
	log_byte(' ');
	log_byte('0');
	log_byte('x');
	while (shift && !(value >> shift))
		shift -= 4;
	for (;; shift -= 4) {
		log_byte("0123456789abcdef"[value >> shift & 15]);
		if (!shift)
			break;
	}
	log_byte('\n');
	__atomic_store_n(&shared_area->log_written, log_total, __ATOMIC_RELEASE);
	__atomic_store_n(&log_lock, 0, __ATOMIC_RELEASE);
	payload_bell(PAYLOAD_BELL_LOG, 0);
}

void payload_fail(unsigned int vcpu, uint32_t error, const uint64_t info[4])
{
	publish(&shared_area->vcpu[vcpu].errors, ++errors[vcpu]);
	if (__atomic_exchange_n(&failed, 1, __ATOMIC_ACQ_REL))
		return;
	for (unsigned int i = 0; i < 4; i++)
		publish(&shared_area->error_info[i], info[i]);
	__atomic_store_n(&shared_area->error, error, __ATOMIC_RELEASE);
	set_state(PAYLOAD_FAILED);
}

void payload_pacer_init(struct payload_pacer *pacer, const struct payload_params *params,
			uint64_t per_second)
{
	pacer->ticks_per_us = params->tsc_khz / 1000;
	pacer->period_fp = per_second && pacer->ticks_per_us ?
				   ((params->tsc_khz * 1000) << 16) / per_second :
				   0;
	pacer->due_fp = payload_tsc() << 16;
}

/*
 * The TSC with 16 binary places loses its upper bits, so points in time are compared by their
 * difference.
 */
void payload_pace(struct payload_pacer *pacer, unsigned int vcpu)
{
	int64_t ahead;

	payload_beat(vcpu);
	if (!pacer->period_fp)
		return;
	pacer->due_fp += pacer->period_fp;
	ahead = (int64_t)(pacer->due_fp - (payload_tsc() << 16)) >> 16;
	if (ahead < -(int64_t)(PACE_BEHIND_US * pacer->ticks_per_us)) {
		pacer->due_fp = payload_tsc() << 16;
		return;
	}
	/* A TSC that jumped back, at a migration, would look like a turn that is due in hours. */
	if (ahead >
	    (int64_t)(2 * (pacer->period_fp >> 16) + PACE_BEHIND_US * pacer->ticks_per_us)) {
		pacer->due_fp = payload_tsc() << 16;
		return;
	}
	while (ahead > 0 && !payload_stopping()) {
		uint64_t us = (uint64_t)ahead / pacer->ticks_per_us;

		if (us >= PACE_SLEEP_US)
			payload_bell(PAYLOAD_BELL_SLEEP,
				     us < PACE_SLEEP_MAX_US ? us : PACE_SLEEP_MAX_US);
		else
			__builtin_ia32_pause();
		payload_beat(vcpu);
		ahead = (int64_t)(pacer->due_fp - (payload_tsc() << 16)) >> 16;
	}
}

/*
 * Called by start.S. A parameter block that is not one gives nothing to report to: the vCPU just
 * exits.
 */
void payload_start(const struct payload_params *params, uint64_t vcpu)
{
	if (params->magic != PAYLOAD_PARAMS_MAGIC || params->version != PAYLOAD_VERSION ||
	    vcpu >= params->vcpus || params->vcpus > PAYLOAD_MAX_VCPUS ||
	    params->shared_bytes < sizeof(struct payload_shared))
		return;
	__atomic_store_n(&shared_area, (struct payload_shared *)params->shared_va,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&vcpu_total, params->vcpus, __ATOMIC_RELAXED);
	if (shared_area->magic != PAYLOAD_SHARED_MAGIC || shared_area->version != PAYLOAD_VERSION)
		return;
	if (vcpu == 0 && !__atomic_load_n(&failed, __ATOMIC_ACQUIRE))
		set_state(PAYLOAD_RUNNING);
	payload_main(params, (unsigned int)vcpu);
	if (__atomic_add_fetch(&vcpus_done, 1, __ATOMIC_ACQ_REL) == vcpu_total &&
	    !__atomic_load_n(&failed, __ATOMIC_ACQUIRE))
		set_state(PAYLOAD_DONE);
}
