/*
 * The log's rules 1-16 (see README.md), for one slot: spin looks for a history that breaks one of five claims.
 *
 *   1. Whatever an owner acknowledged is in the log of every ACTIVE owner of a higher epoch.
 *   2. No two owners commit different records at an lsn.
 *   3. Of any two committed prefixes, one is a prefix of the other.
 *   4. Only one incarnation ever writes under an epoch.
 *   5. No replica has to cut what it was told is committed (rule 5 would stop the slot there).
 *
 * Switches: CLAIMS, ENTRIES and CHANGE (replica changes) are the most that may happen; NO_RULE_x breaks one rule or a
 * part of it; NO_CLAIM_x leaves a claim unchecked; REACH_x makes something good a violation, to see that it happens.
 */
#include "state.pml"
#include "rules.pml"
#include "shared.pml"

/* -- the actions. Each is one step; its first statement says when it is possible -- */

/* rules 1, 3 and 15: node n claims the slot, whenever it likes, also while another recovers it; a member that is `gone`
   gives its place to the fourth node */
#define MAY_CLAIM(n) (IN(rec_set, n) && (n <= hosts || n == 3))
inline claim(n, gone)
{
	rec_epoch++;
	rec_active = false;
	overtake(n, rec_epoch);
	for (k : 1 .. CLAIMS) {
		if
		:: own[k].stage == COPYING -> own[k].match = 0 /* it will never be ACTIVE now */
		:: else
		fi
	}
	own[rec_epoch].stage = SEALING;
	own[rec_epoch].host = n;
	own[rec_epoch].old = rec_set;
	own[rec_epoch].next = rec_set;
	if
	:: gone != STAYS -> changes++; own[rec_epoch].next = 15 - (1 << gone)
	:: else
	fi;
	if
	:: n == hosts && n < 3 -> hosts++
	:: else
	fi;
#ifdef NO_RULE_16_ACTIVE /* the new set is the authority as soon as it is named */
	rec_set = own[rec_epoch].next;
#endif
#ifdef NO_RULE_16_READ /* a record that is not ACTIVE is reason enough to delete a copy */
	exclude(rec_epoch);
#endif
	printf("claim: epoch %d by node %d, next set %d\n", rec_epoch, n, own[rec_epoch].next)
}

/* Nodes outside the set of epoch e may read so, now or at any time later. */
inline exclude(e)
{
	for (i : 0 .. NODES - 1) {
		if
		:: !IN(own[e].next, i) -> rep[i].excluded = e
		:: else
		fi
	}
}

/* rule 10: SEAL(e) reaches replica r, and the answer reaches the owner or does not. Without an answer this is also an
   append of e that matches nothing here: its epoch is promised all the same (rule 4). */
inline seal(e, r, heard)
{
	(own[e].stage != NONE && MAY_SEAL(e, r) && (r != own[e].host || (heard && ALIVE(e))) &&
	(heard -> own[e].stage == SEALING && IN(SEAL_SET(e), r) && !IN(own[e].seals, r) :
	rep[r].promised != e && (IN(own[e].old, r) || (IN(own[e].next, r) && APPENDING(e))))) ->
	overtake(r, e);
	rep[r].promised = e;
#ifndef NO_RULE_10_DURABLE
	sync(r);
#endif
	if
	:: heard ->
		own[e].seals = own[e].seals | (1 << r);
		if
		:: RANK(rep[r].mem) > RANK(own[e].log) -> own[e].log = rep[r].mem /* rule 12 */
		:: else
		fi
	:: else
	fi;
	retire();
	printf("seal: node %d promises %d, heard %d, log %o\n", r, e, heard, rep[r].mem)
}

/* The owner of epoch e appends a record to its own log, in memory. */
inline write(e)
{
#ifndef NO_CLAIM_4
	assert(!own[e].resumed); /* claim 4: only one incarnation ever writes under an epoch */
#endif
	own[e].log = own[e].log | (RECORD(e) << (3 * LEN(own[e].log)));
	rep[own[e].host].mem = own[e].log
}

/* rules 11, 12 and 13: seals enough; the best log becomes the owner's, and a barrier follows it */
inline choose(e)
{
	own[e].stage == SEALING && IN(own[e].seals, own[e].host) && ENOUGH_SEALS(e) ->
	own[e].stage = COPYING;
	own[e].seals = 0;
	o = own[e].host;
	assert(QUIET || ALIKE(rep[o].mem, own[e].log, rep[o].commit)); /* claim 5 */
	write(e);
	printf("choose: epoch %d, log with barrier %o\n", e, own[e].log)
}

/* rules 4, 5 and 6: record l of epoch e reaches replica r, with the record before it and the owner's commit */
inline append(e, r, l)
{
	(APPENDING(e) && r != own[e].host && IN(own[e].old | own[e].next, r) && MAY_APPEND(e, r) &&
	l <= LEN(own[e].log) && FOLLOWS(l, rep[r].mem, own[e].log) && WORTH(l, rep[r].mem, own[e].log)) ->
	overtake(r, e);
#ifndef NO_RULE_4_PROMISE
	if
	:: e > rep[r].promised -> rep[r].promised = e
	:: else
	fi;
#endif
	if
	:: AT(rep[r].mem, l) == 0 -> rep[r].mem = rep[r].mem | (AT(own[e].log, l) << (3 * l - 3))
#ifndef NO_RULE_5_CUT
	:: AT(rep[r].mem, l) != 0 && AT(rep[r].mem, l) != AT(own[e].log, l) ->
		cut(r, l);
		rep[r].mem = rep[r].mem | (AT(own[e].log, l) << (3 * l - 3))
#endif
	:: else
	fi;
#ifdef NO_RULE_5_SHRINK /* what comes after this record is cut, too */
	if
	:: AT(rep[r].mem, l + 1) != 0 -> cut(r, l + 1)
	:: else
	fi;
#endif
#ifndef NO_RULE_6
	sync(r);
#endif
	i = r;
	learn(e);
	acknowledged(e, r, l);
#ifdef NO_RULE_8_EPOCH /* a later ownership of the same node counts this answer for its own */
	for (o : 1 .. CLAIMS) {
		if
		:: o > e && ALIVE(o) && APPENDING(o) && own[o].host == own[e].host -> acknowledged(o, r, l)
		:: else
		fi
	}
#endif
	retire();
	printf("append: record %d of epoch %d to node %d, log %o\n", l, e, r, rep[r].mem)
}

/* rule 5: replica r removes its records from l on, never what it knows to be committed (the node would raise an alarm) */
inline cut(r, l)
{
#ifdef REACH_CUT
	assert(false); /* REACH */
#endif
	assert(QUIET || l > rep[r].commit); /* claim 5 */
	rep[r].mem = HEAD(rep[r].mem, l - 1)
}

/* rule 6: a batch is on disk */
inline flush(r)
{
	rep[r].mem != rep[r].disk || rep[r].promised != rep[r].promised_disk ->
	sync(r);
	retire();
	printf("fsync: node %d, log %o\n", r, rep[r].disk)
}

/* rules 13 and 14: the log and the barrier are on a majority of the next set, and one transaction makes the slot ACTIVE */
inline activate(e)
{
	own[e].stage == COPYING && MAY_ACTIVATE(e) ->
	own[e].stage = ACTIVE;
#ifndef NO_RULE_14_ACTIVE
	set_active(e);
#endif
	assert(ALIKE(own[e].log, committed, LEN(committed))); /* claim 1: whatever was acknowledged is in its log */
	advance(e);
	printf("serve: epoch %d, log %o, committed %o\n", e, own[e].log, committed)
}

inline set_active(e)
{
	rec_active = true;
	rec_set = own[e].next;
	exclude(e)
}

/* A client's call is recorded. */
inline turn(e)
{
	own[e].stage == ACTIVE && entries < ENTRIES ->
	entries++;
	write(e);
	advance(e);
	printf("turn: epoch %d, log %o\n", e, own[e].log)
}

#ifdef NO_RULE_2
inline resume(x, n)
{
	own[x].resumed = true;
	own[x].log = rep[n].disk;
	own[x].match = 0;
	if
	:: own[x].commit > LEN(own[x].log) -> own[x].commit = LEN(own[x].log)
	:: else
	fi;
	l = LEN(own[x].log);
	acknowledged(x, n, l)
}
#endif

/* rule 2: a node's process ends and another starts, which owns nothing */
inline crash(r)
{
	HOSTS(r) || rep[r].mem != rep[r].disk || rep[r].promised != rep[r].promised_disk ->
	rep[r].mem = rep[r].disk;
	rep[r].promised = rep[r].promised_disk;
	for (o : 1 .. CLAIMS) {
		if
		:: ALIVE(o) && own[o].host == r ->
#ifdef NO_RULE_2 /* it goes on as the owner that the record names */
			if
			:: own[o].stage == ACTIVE && rec_epoch == o && !own[o].resumed -> resume(o, r)
			:: else -> die(o)
			fi
#else
			die(o)
#endif
		:: else
		fi
	}
	retire();
	printf("crash: node %d, log %o\n", r, rep[r].mem)
}

/* rule 16: a copy that an ACTIVE record, read linearizably at any time since, left out is deleted; its promise stays */
inline delete(r)
{
	rep[r].excluded && MAY_DELETE(r) && rep[r].mem && !HOSTS(r) ->
#ifdef REACH_DELETE
	assert(false); /* REACH */
#endif
	rep[r].mem = 0;
	rep[r].disk = 0;
	rep[r].commit = 0;
#ifdef NO_RULE_16_PROMISE
	rep[r].promised = 0;
	rep[r].promised_disk = 0;
#endif
	printf("delete: node %d, promise %d\n", r, rep[r].promised)
}

/* -- every action, with every epoch, node and record. Choices inside `atomic` make no states of their own; what cannot
      be done ends where it began. The order is a matter of speed: what leads on is last (see `run.py`) -- */

inline pick_node()
{
	if
	:: r = 0
	:: r = 1
	:: r = 2
#if CHANGE
	:: r = 3
#endif
	fi
}

inline pick_epoch()
{
	if
	:: e = 1
	:: rec_epoch > 1 -> e = 2
#if CLAIMS > 2
	:: rec_epoch > 2 -> e = 3
#endif
#if CLAIMS > 3
	:: rec_epoch > 3 -> e = 4
#endif
	fi
}

inline pick_record()
{
	l = 1;
	do
	:: l < LEN(own[e].log) -> l++
	:: break
	od
}

inline done()
{
	d_step { e = 0; r = 0; l = 0; i = 0; k = 0; c = 0; o = 0 }
}

active proctype system()
{
end:
	do
	:: atomic {
		pick_node();
		if
		:: d_step { flush(r) }
		:: d_step { crash(r) }
		:: d_step { delete(r) }
		:: else
		fi;
		done()
	}
	:: atomic {
		rec_epoch < CLAIMS -> pick_node();
		if
		:: MAY_CLAIM(r) ->
			if
			:: l = STAYS
#if CHANGE
			:: changes < CHANGE && IN(rec_set, 0) -> l = 0
			:: changes < CHANGE && IN(rec_set, 1) -> l = 1
			:: changes < CHANGE && IN(rec_set, 2) -> l = 2
			:: changes < CHANGE && IN(rec_set, 3) -> l = 3
#endif
			fi;
			d_step { claim(r, l) }
		:: else
		fi;
		done()
	}
	:: atomic {
		rec_epoch > 0 -> pick_epoch();
		if
		:: d_step { choose(e) }
		:: d_step { activate(e) }
		:: d_step { turn(e) }
#ifdef NO_RULE_14_ACTIVE
		:: d_step { own[e].stage == ACTIVE && rec_epoch == e && !rec_active ->
			set_active(e);
			printf("record: epoch %d is ACTIVE\n", e)
		}
#endif
		:: else
		fi;
		done()
	}
	:: atomic {
		rec_epoch > 0 -> pick_epoch(); pick_node();
		if
		:: d_step { seal(e, r, true) }
		:: d_step { seal(e, r, false) }
		:: else
		fi;
		done()
	}
	:: atomic {
		rec_epoch > 0 -> pick_epoch(); pick_node();
		if
		:: APPENDING(e) && MAY_APPEND(e, r) ->
			pick_record();
			if
			:: d_step { append(e, r, l) }
			:: else
			fi
		:: else
		fi;
		done()
	}
#ifdef REACHED
	:: d_step { REACHED -> assert(false) /* REACH */ }
#endif
	od
}
