/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conversation of a migration (docs/protocol.md, part 2) as a model for spin: a source, two
 * targets, the network between them, and an operator who follows the source's messages. Pages are
 * left out. The model knows which side runs the guest, which side holds its disks, and what each
 * side has heard.
 *
 * The network cuts a connection at any time, and then loses what is under way. A wait may time out
 * at any moment. Each process may be killed at any step, and cancelled where the engine allows it.
 * When the first migration fails and the guest runs at the source, a second migration to the second
 * target follows.
 *
 * Properties:
 *   ONE      at most one side runs the guest
 *   DISKS    a side runs the guest only while it holds the disks
 *   WORD     at rest one side runs the guest, or its process was killed, or a side has told the
 *            operator what is left to do
 *   PEER     in post-copy only the source of this migration is let in again
 *   END      every wait ends (spin's search for invalid end states), or is one of the two that
 *            only an operator ends: a target that waits for its source
 *
 * tests/model/run checks them, and checks that each MUTATE_* (a rule of the protocol that is
 * broken on purpose) makes spin find a counterexample.
 */
#define TARGETS 2
#ifndef MIGRATIONS
#define MIGRATIONS TARGETS /* a failed one is followed by one to another target */
#endif
#define CONNS	6 /* connections are numbered from 1; 0 is no connection */

/* Budgets of what goes wrong. Each run of the model sets some of them. */
#ifndef CUTS
#define CUTS 0
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef CANCELS
#define CANCELS 0
#endif
#ifndef RECOVERIES
#define RECOVERIES 0
#endif
#ifndef DELAYS
#define DELAYS 0 /* a wait that times out although the peer is about to answer */
#endif
#ifndef INTRUDERS
#define INTRUDERS 0
#endif

/*
 * A guest without disks is protected by no lock: then only the messages keep it from running twice.
 */
#ifdef DISKLESS
#define holds(condition) true
#define locked_elsewhere(condition) false
#else
#define holds(condition) (condition)
#define locked_elsewhere(condition) (condition)
#endif

/*
 * The steps of lib/migrate/state_machine.h, where the model takes them. `run steps` prints those
 * that the search finds; in all other runs they are nothing. The numbers of states and events are
 * the header's.
 */
#ifdef STEPS
c_decl {
\#include <stdio.h>
\#include <stdlib.h>
	static unsigned char step_seen[2][32][32][32];
	static void print_steps(void)
	{
		for (int i = 0; i < 2 * 32 * 32 * 32; i++)
			if (((unsigned char *)step_seen)[i])
				printf("step %s %d %d %d\n", i >> 15 ? "target" : "source",
				       i >> 10 & 31, i >> 5 & 31, i & 31);
	}
	static void note_step(int side, int from, int event, int to)
	{
		static int begun;
		if (!begun++)
			atexit(print_steps);
		step_seen[side][from][event][to] = 1;
	}
}
byte source_at, target_at[TARGETS], step_event, step_to, step_me;
#define SOURCE_BEGINS d_step { source_at = SOURCE_CONNECTING };
#define SOURCE_STEPS(event, to) \
	skip; \
	d_step { \
		step_event = event; \
		step_to = to; \
		c_code { note_step(0, now.source_at, now.step_event, now.step_to); }; \
		source_at = step_to; \
		step_event = 0; \
		step_to = 0 \
	};
#define TARGET_STEPS(event, to) \
	skip; \
	d_step { \
		step_event = event; \
		step_to = to; \
		step_me = me; \
		c_code { \
			note_step(1, now.target_at[now.step_me], now.step_event, now.step_to); \
		}; \
		target_at[me] = step_to; \
		step_event = 0; \
		step_to = 0; \
		step_me = 0 \
	};
#define TARGET_IS(state) (target_at[me] == state)
#define SOURCE_IS(state) (source_at == state)
#else
#define SOURCE_BEGINS
#define SOURCE_STEPS(event, to)
#define TARGET_STEPS(event, to)
#endif

mtype:message = { HELLO, WORKING, CORE, CORE_DONE, ROUND, STATE, MANIFEST, READY, COMMIT,
		  RUNNING, ABORT, POSTCOPY, MISSING, LAST_PAGE, RECOVER, FORGED_RECOVER,
		  /* not messages: what a wait for one can end with instead */
		  TIMED_OUT, HUNG_UP, CANCELLED };
mtype:word = { SILENT, PAUSED, UNKNOWN, BROKEN, LOST };
mtype:holder = { NOBODY, SOURCE, TARGET };

chan to_target[CONNS] = [4] of { mtype:message };
chan to_source[CONNS] = [4] of { mtype:message };
bool up[CONNS];
mtype:message dropped;
byte connections; /* made so far */
byte calling[TARGETS]; /* the connection that waits to be accepted */

bool source_runs = true, target_runs[TARGETS], target_ran[TARGETS];
bool target_over[TARGETS]; /* it has ended without the guest */
bool target_dead[TARGETS]; /* its process has ended, so nothing listens */
mtype:word source_word = SILENT, target_word[TARGETS] = SILENT;
mtype:holder disks = SOURCE;
byte disks_at; /* which target, if disks == TARGET */

bool source_killed, target_killed[TARGETS];
bool source_cancel, target_cancel[TARGETS];
byte cuts = CUTS, kills = KILLS, cancels = CANCELS, intruders = INTRUDERS, delays = DELAYS;
bool source_over, target_rests[TARGETS], target_begun[TARGETS];

inline send(ch, c, m)
{
	if
	:: atomic { up[c] && nfull(ch) -> ch!m }
	:: !up[c]
	fi
}

/* cancel: an expression, true if the side may be cancelled here and is. */
inline receive(ch, c, m, cancel)
{
	if
	:: ch?m
	:: empty(ch) && !up[c] -> m = HUNG_UP
	:: atomic { empty(ch) && up[c] && delays > 0 -> delays--; m = TIMED_OUT }
#ifndef MUTATE_NO_DEADLINE
	:: timeout -> m = TIMED_OUT
#endif
	:: cancel -> m = CANCELLED
	fi
}

/* A target that works for long says so, here at most once. */
inline say_working(ch, c)
{
	if
	:: true
	:: send(ch, c, WORKING)
	fi
}

inline receive_after_work(ch, c, m, cancel)
{
	receive(ch, c, m, cancel);
	if
	:: m == WORKING -> receive(ch, c, m, cancel)
	:: else
	fi
}

inline drain(ch)
{
	do
	:: nempty(ch) -> ch?dropped
	:: empty(ch) -> break
	od
}

/* Whoever closes a connection may destroy what the peer has not read yet (a TCP reset). */
inline hang_up(in, out, c)
{
	d_step {
		up[c] = false
	}
	if
	:: true
	:: atomic { nempty(out) -> drain(out) }
	fi;
	atomic { drain(in) }
}

inline run_at_source()
{
	d_step {
		assert(holds(disks == SOURCE)); /* DISKS */
		source_runs = true;
		assert(!target_runs[0] && !target_runs[1]) /* ONE */
	}
}

inline run_at_target(i)
{
	d_step {
		assert(holds(disks == TARGET && disks_at == i)); /* DISKS */
		target_runs[i] = true;
		target_ran[i] = true;
		assert(!source_runs && !target_runs[1 - i]) /* ONE */
	}
}

/* lib/migrate/source.c and source_postcopy.c */
proctype Source()
{
	mtype:message m;
	byte to, conn, left = RECOVERIES;
	bool passed, heard_running, postcopy;

	{
		skip;
begin_attempt:
		passed = false;
		postcopy = false;
		m = HUNG_UP;
		SOURCE_BEGINS
		if
		:: !target_begun[to] -> target_begun[to] = true; run Target(to)
		:: else
		fi;
		if
		:: target_dead[to] -> goto failed /* connection refused */
		:: else -> atomic {
			connections++;
			conn = connections;
			up[conn] = true;
			calling[to] = conn
		}
		fi;
		send(to_target[conn], conn, HELLO);
		receive_after_work(to_source[conn], conn, m, source_cancel);
		if
		:: m == HELLO
		:: else -> goto failed
		fi;
		SOURCE_STEPS(SOURCE_AGREE, SOURCE_SETTING_UP)
		if
		:: true
		:: goto failed /* the helper does not start, or the target says why it does not */
		fi;
		SOURCE_STEPS(SOURCE_SEND_CORE, SOURCE_SENDING_CORE)
		send(to_target[conn], conn, CORE);
		receive_after_work(to_source[conn], conn, m, source_cancel);
		if
		:: m == CORE_DONE
		:: else -> goto failed
		fi;
		SOURCE_STEPS(SOURCE_LOG, SOURCE_PRECOPY)
precopy:
		send(to_target[conn], conn, ROUND);
		receive(to_source[conn], conn, m, source_cancel);
		if
		:: m == ROUND
		:: else -> goto failed
		fi;
		if
		:: goto precopy
		:: goto failed /* it does not converge */
		:: goto stop_and_copy
		:: postcopy = true
		fi;

		send(to_target[conn], conn, POSTCOPY);
		receive(to_source[conn], conn, m, source_cancel);
		if
		:: m == POSTCOPY
		:: else -> goto failed
		fi;
		SOURCE_STEPS(SOURCE_STOP, SOURCE_STOPPED)
		source_runs = false;
		send(to_target[conn], conn, MISSING);
		send(to_target[conn], conn, STATE);
		goto await_ready;

stop_and_copy:
		SOURCE_STEPS(SOURCE_STOP, SOURCE_STOPPED)
		source_runs = false;
		send(to_target[conn], conn, STATE);
		send(to_target[conn], conn, MANIFEST);

await_ready:
#ifdef MUTATE_NO_WAIT_FOR_READY
		m = READY;
#else
		receive(to_source[conn], conn, m, source_cancel);
#endif
		if
		:: m == READY
		:: else -> goto failed
		fi;
		SOURCE_STEPS(SOURCE_RELEASE, SOURCE_RELEASED)
		disks = NOBODY;
		/* A target that leaves meanwhile has not heard COMMIT: nothing is in doubt. */
		if
		:: empty(to_source[conn]) && up[conn]
		:: to_source[conn]?m -> goto failed
		:: !up[conn] -> goto failed
		fi;
		/* the step COMMIT (lib/migrate/state_machine.h): from here on nobody cancels. */
		if
		:: source_cancel -> goto failed
		:: atomic { !source_cancel -> passed = true }
		fi;
		SOURCE_STEPS((postcopy -> SOURCE_COMMIT_WITHOUT : SOURCE_COMMIT),
			     (postcopy -> SOURCE_COMMITTED_MISSING : SOURCE_COMMITTED))
		send(to_target[conn], conn, COMMIT);
await_running:
#ifdef MUTATE_CANCEL_AFTER_COMMIT
		receive(to_source[conn], conn, m, source_cancel);
		if
		:: m == CANCELLED -> goto failed
		:: else
		fi;
#else
		receive(to_source[conn], conn, m, (source_cancel && postcopy));
#endif
		if
		:: m == RUNNING -> heard_running = true;
			SOURCE_STEPS(SOURCE_RUNNING,
				     (postcopy -> SOURCE_POSTCOPY : SOURCE_MIGRATED))
			if
			:: postcopy -> goto serve
			:: else -> goto migrated
			fi
		:: m == ABORT ->
			if
			:: heard_running ->
				SOURCE_STEPS(SOURCE_ABORT, SOURCE_LOST)
				goto lost
			:: else -> goto failed
			fi
		:: m == CANCELLED || m == TIMED_OUT || m == HUNG_UP
		fi;
#ifdef MUTATE_UNKNOWN_RESUMES
		goto failed;
#endif
		if
		:: !heard_running -> source_word = UNKNOWN
		:: else -> source_word = BROKEN
		fi;
		if
		:: postcopy -> goto broken
		:: else
		fi;
		SOURCE_STEPS(SOURCE_BREAK, SOURCE_UNKNOWN)
		/* The operator looks at the target and waits until its fate is known. */
		if
		:: target_ran[to] -> goto migrated
		:: !target_ran[to] && (target_over[to] || target_killed[to]) ->
			hang_up(to_source[conn], to_target[conn], conn);
			goto take_back
		fi;

serve:
		if
		:: send(to_target[conn], conn, MANIFEST);
			send(to_target[conn], conn, LAST_PAGE)
		:: true /* pages are still under way when something happens */
		fi;
		receive(to_source[conn], conn, m, source_cancel);
		if
		:: m == LAST_PAGE ->
			SOURCE_STEPS(SOURCE_LAST_PAGE, SOURCE_MIGRATED)
			goto migrated
		:: m == ABORT ->
			SOURCE_STEPS(SOURCE_ABORT, SOURCE_LOST)
			goto lost
		:: else -> source_word = BROKEN
		fi;
broken:
		SOURCE_STEPS(SOURCE_BREAK,
			     (SOURCE_IS(SOURCE_POSTCOPY) || SOURCE_IS(SOURCE_RECOVERING) ->
				SOURCE_BROKEN : SOURCE_UNDECIDED))
		hang_up(to_source[conn], to_target[conn], conn);
		if
		:: left == 0 || target_dead[to] -> goto give_up
		:: left > 0 && !target_dead[to] -> left--
		fi;
		SOURCE_STEPS(SOURCE_RECOVER,
			     (SOURCE_IS(SOURCE_BROKEN) -> SOURCE_RECOVERING : SOURCE_ASKING))
		atomic {
			connections++;
			conn = connections;
			up[conn] = true;
			calling[to] = conn
		}
		send(to_target[conn], conn, RECOVER);
		receive(to_source[conn], conn, m, source_cancel);
		if
		:: m == RECOVER
		:: else -> goto broken
		fi;
		receive(to_source[conn], conn, m, source_cancel);
		if
		:: m == MISSING -> goto await_running
		:: else -> goto broken
		fi;

give_up:
		/*
		 * The operator does not recover. Without a RUNNING ever heard he looks at the
		 * target, as after UNKNOWN; else `stop --force` gives the guest up.
		 */
		if
		:: heard_running -> goto lost
		:: !heard_running && target_over[to] -> goto take_back
		:: !heard_running && target_ran[to] -> goto lost
		:: !heard_running && target_killed[to] && !target_ran[to] -> goto take_back
		/* whether it ran is not known */
		:: !heard_running && target_word[to] == LOST -> goto lost
		fi;

failed:
		SOURCE_STEPS((m == ABORT -> SOURCE_ABORT : SOURCE_BREAK), SOURCE_FAILED)
		send(to_target[conn], conn, ABORT);
		hang_up(to_source[conn], to_target[conn], conn);
take_back:
		/* The target's process holds the disks until it has released them or has ended. */
		if
		:: atomic { !locked_elsewhere(disks == TARGET) -> disks = SOURCE }
#ifdef MUTATE_RESUME_WITHOUT_DISKS
		:: locked_elsewhere(disks == TARGET)
#else
		:: locked_elsewhere(disks == TARGET) -> source_word = PAUSED; goto end
#endif
		fi;
		if
		:: !source_runs -> source_word = SILENT; run_at_source()
		:: source_runs
		fi;
		source_cancel = false;
		heard_running = false;
		if
		:: to + 1 < MIGRATIONS && connections + 1 < CONNS - INTRUDERS ->
			to++;
			goto begin_attempt
		:: true -> goto end
		fi;

migrated:
		source_word = SILENT;
		goto end;
lost:
		source_word = LOST;
end:
		hang_up(to_source[conn], to_target[conn], conn);
		source_over = true
	} unless {
		source_killed ->
		d_step {
			source_over = true;
			source_word = SILENT;
			up[conn] = false
		}
	}
}

/* lib/migrate/target.c and target_postcopy.c */
proctype Target(byte me)
{
	mtype:message m;
	byte conn;
	bool postcopy, passed, started, manifest;

	{
		skip;
		target_rests[me] = true;
end_listen:
		if
		:: atomic { calling[me] != 0 ->
			conn = calling[me];
			calling[me] = 0;
			target_rests[me] = false }
		:: target_cancel[me] -> goto failed
		:: source_over -> goto end /* nobody will come: the operator ends it */
		fi;
		TARGET_STEPS(TARGET_CONNECT, TARGET_HANDSHAKE)
		receive(to_target[conn], conn, m, target_cancel[me]);
		if
		:: m == HELLO
		:: else -> goto failed
		fi;
		say_working(to_source[conn], conn);
		if
		:: true
		:: goto failed /* the VM cannot be built here */
		fi;
		send(to_source[conn], conn, HELLO);
		TARGET_STEPS(TARGET_BUILD, TARGET_SETTING_UP)
		receive(to_target[conn], conn, m, target_cancel[me]);
		if
		:: m == CORE
		:: else -> goto failed
		fi;
		say_working(to_source[conn], conn);
		send(to_source[conn], conn, CORE_DONE);
		TARGET_STEPS(TARGET_HELPER_RUNS, TARGET_RECEIVING)
receive_guest:
		if
		:: true
		:: goto failed /* the helper does not start, or a page is not what it should be */
		fi;
		receive(to_target[conn], conn, m, target_cancel[me]);
		if
		:: m == ROUND -> send(to_source[conn], conn, ROUND); goto receive_guest
		:: m == POSTCOPY && !postcopy -> postcopy = true;
			send(to_source[conn], conn, POSTCOPY);
			receive(to_target[conn], conn, m, target_cancel[me]);
			if
			:: m == MISSING -> TARGET_STEPS(TARGET_ARM, TARGET_ARMED) goto receive_guest
			:: else -> goto failed
			fi
		:: m == STATE
		:: else -> goto failed
		fi;
		TARGET_STEPS(TARGET_STATE, (postcopy -> TARGET_LOADING_MISSING : TARGET_LOADING))
		if
		:: postcopy
		:: else ->
			receive(to_target[conn], conn, m, target_cancel[me]);
			if
			:: m == MANIFEST
			:: else -> goto failed
			fi
		fi;
		if
		:: true
		:: goto failed /* the manifest does not hold, or the state does not load */
		fi;
		TARGET_STEPS(TARGET_LOADED, (postcopy -> TARGET_READY_MISSING : TARGET_READY))
		send(to_source[conn], conn, READY);
#ifdef MUTATE_NO_WAIT_FOR_COMMIT
		m = COMMIT;
#else
		receive(to_target[conn], conn, m, target_cancel[me]);
#endif
		if
		:: m == COMMIT
		:: else -> goto failed
		fi;
		TARGET_STEPS(TARGET_COMMIT, (postcopy -> TARGET_TAKING_MISSING : TARGET_TAKING))
		if
		:: atomic { !locked_elsewhere(disks != NOBODY) -> disks = TARGET; disks_at = me }
		:: goto failed /* they are held elsewhere, or cannot be opened */
		fi;
		/* the step START (lib/migrate/state_machine.h) */
		if
		:: target_cancel[me] -> goto failed
		:: atomic { !target_cancel[me] -> passed = true }
		fi;
		TARGET_STEPS(TARGET_START, (postcopy -> TARGET_STARTING_MISSING : TARGET_STARTING))
		if
		:: postcopy -> goto serve
		:: !postcopy ->
			run_at_target(me);
			TARGET_STEPS(TARGET_RUN, TARGET_MIGRATED)
			send(to_source[conn], conn, RUNNING);
			goto migrated
		:: goto failed /* the guest does not start */
		fi;

serve:
		/* resume() runs in a thread, as it may wait for a page. */
		if
		:: !started -> started = true; run_at_target(me);
			TARGET_STEPS(TARGET_RUN, TARGET_POSTCOPY)
			if
			:: conn != 0 -> send(to_source[conn], conn, RUNNING)
			:: else
			fi
		:: !started -> goto failed
		:: true
		fi;
		receive(to_target[conn], conn, m, target_cancel[me]);
		if
		:: m == MANIFEST -> manifest = true; goto serve
		:: m == LAST_PAGE && manifest ->
			if
			:: started
			:: !started ->
				started = true;
				run_at_target(me);
				TARGET_STEPS(TARGET_RUN, TARGET_POSTCOPY)
				send(to_source[conn], conn, RUNNING)
			:: !started -> goto failed
			fi;
			if
			:: true ->
				TARGET_STEPS(TARGET_LAST_PAGE, TARGET_MIGRATED)
				send(to_source[conn], conn, LAST_PAGE);
				goto migrated
			:: goto lost /* the manifest does not hold */
			fi
		:: m == ABORT || m == CANCELLED -> goto lost
		:: else
		fi;
		TARGET_STEPS(TARGET_BREAK, (started -> TARGET_BROKEN : TARGET_STARTING_BROKEN))
broken:
		manifest = false;
		hang_up(to_target[conn], to_source[conn], conn);
		target_word[me] = BROKEN;
		conn = 0;
		target_rests[me] = true;
end_broken:
		if
		:: atomic { calling[me] != 0 ->
			conn = calling[me];
			calling[me] = 0;
			target_rests[me] = false }
		:: target_cancel[me] -> goto lost
		:: !started -> started = true; run_at_target(me);
			TARGET_STEPS(TARGET_RUN, TARGET_BROKEN)
			goto end_broken
		:: !started -> goto failed
		fi;
		receive(to_target[conn], conn, m, target_cancel[me]);
		if
		:: m == RECOVER
		:: m == FORGED_RECOVER ->
#ifdef MUTATE_RECOVER_WITHOUT_MAC
			assert(false) /* PEER */
#else
			goto broken
#endif
		:: else -> goto broken
		fi;
		target_word[me] = SILENT;
		send(to_source[conn], conn, RECOVER);
		send(to_source[conn], conn, MISSING);
		TARGET_STEPS(TARGET_RECOVER, (started -> TARGET_POSTCOPY : TARGET_STARTING_MISSING))
		if
		:: started -> send(to_source[conn], conn, RUNNING)
		:: else
		fi;
		goto serve;

lost:
		/* A start that waits for a page that never comes neither fails nor ends. */
		if
		:: !started -> goto failed
		:: true
		fi;
		TARGET_STEPS(TARGET_GIVE_UP, TARGET_LOST)
		atomic {
			target_runs[me] = false;
			target_word[me] = LOST
		}
		goto say_abort;
failed:
		TARGET_STEPS((TARGET_IS(TARGET_STARTING) || TARGET_IS(TARGET_STARTING_MISSING) ||
			      TARGET_IS(TARGET_STARTING_BROKEN) ->
				TARGET_START_FAILED : TARGET_BREAK), TARGET_FAILED)
#ifndef MUTATE_ABORT_BEFORE_DISKS
		atomic {
			if
			:: disks == TARGET && disks_at == me -> disks = NOBODY
			:: else
			fi
		}
#endif
		atomic { target_over[me] = true; target_word[me] = SILENT };
say_abort:
		if
		:: conn != 0 -> send(to_source[conn], conn, ABORT)
		:: else
		fi;
		goto end;
migrated:
		target_word[me] = SILENT;
end:
		if
		:: conn != 0 -> hang_up(to_target[conn], to_source[conn], conn)
		:: else
		fi;
		target_dead[me] = true
	} unless {
		target_killed[me] ->
		d_step {
			target_dead[me] = true;
			target_word[me] = SILENT;
			if
			:: conn != 0 -> up[conn] = false
			:: else
			fi
		}
	}
}

/* What goes wrong. */
active proctype Chaos()
{
	byte c;

	atomic {
		target_begun[0] = true;
		run Target(0);
		run Source()
	}
end_chaos:
	do
	:: atomic { cuts > 0 && connections > 0 -> cuts--;
		c = connections;
		up[c] = false;
		if
		:: true
		:: nempty(to_target[c]) -> drain(to_target[c])
		:: nempty(to_source[c]) -> drain(to_source[c])
		:: nempty(to_target[c]) && nempty(to_source[c]) ->
			drain(to_target[c]);
			drain(to_source[c])
		fi }
	:: atomic { kills > 0 -> kills--;
		source_killed = true;
		source_runs = false;
		disks = (disks == SOURCE -> NOBODY : disks) }
	:: atomic { kills > 0 && connections > 0 -> kills--;
		target_killed[0] = true;
		target_runs[0] = false;
		disks = (disks == TARGET && disks_at == 0 -> NOBODY : disks) }
	:: atomic { cancels > 0 -> cancels--; source_cancel = true }
	:: atomic { cancels > 0 && connections > 0 -> cancels--; target_cancel[0] = true }
	:: atomic { intruders > 0 && connections > 0 && connections < CONNS - 1 &&
		calling[0] == 0 && !target_dead[0] -> intruders--;
		connections++;
		up[connections] = true;
		to_target[connections]!FORGED_RECOVER;
		calling[0] = connections }
	:: source_over && (target_dead[0] || target_rests[0]) &&
		(!target_begun[1] || target_dead[1] || target_rests[1]) -> break
	od;

	/* WORD */
	assert(source_runs || target_runs[0] || target_runs[1] ||
	       source_word != SILENT || target_word[0] != SILENT || target_word[1] != SILENT ||
	       source_killed || (target_killed[0] && target_ran[0]) ||
	       (target_killed[1] && target_ran[1]))
}
