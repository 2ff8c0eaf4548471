/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ties the code to the model: the steps that migration.pml takes, as steps.def lists them
 * (tests/model/run steps), and a watch over those that a real migration takes.
 */
#ifndef TESTS_MODEL_STEPS_H
#define TESTS_MODEL_STEPS_H

#include <stdbool.h>

#include "lib/migrate/state_machine.h"

bool model_has_step(const struct state_machine *life, unsigned int from, unsigned int event,
		    unsigned int to);

/*
 * From here on a migration of this process and its children that takes a step which the model does
 * not have aborts its process, with the step's name on stderr.
 */
void model_watch_steps(void);

#endif
