/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/model/steps.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
	const struct state_machine *life;
	unsigned int from, event, to;
} steps[] = {
#define STEP(side, from, event, to) { &side##_life, from, event, to },
#include "tests/model/steps.def"
#undef STEP
};

bool model_has_step(const struct state_machine *life, unsigned int from, unsigned int event,
		    unsigned int to)
{
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (steps[i].life == life && steps[i].from == from && steps[i].event == event &&
		    steps[i].to == to)
			return true;
	return false;
}

static void watch(const struct state_machine *life, unsigned int from, unsigned int event,
		  unsigned int to)
{
	if (model_has_step(life, from, event, to))
		return;
	fprintf(stderr, "the model does not have the step %s -> %s: %s\n", life->state[from].name,
		life->state[to].name, life->event[event]);
	abort();
}

void model_watch_steps(void)
{
	state_machine_trace = watch;
}
