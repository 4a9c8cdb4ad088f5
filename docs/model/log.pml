/*
 * The log's rules 1-16 (see README.md), for one slot: spin looks for a history that breaks one of the four claims below.
 *
 * Switches: CLAIMS, ENTRIES, CHANGE (replica changes, at most); NO_RULE_x breaks one rule, or one half of it;
 * REACH_x makes something good a violation, to see that it happens.
 */
#ifndef CLAIMS
#define CLAIMS 2
#endif
#ifndef ENTRIES
#define ENTRIES 2
#endif
#ifndef CHANGE
#define CHANGE 0
#endif
#if CHANGE
#define NODES 4 /* three replicas and one that may take the place of any of them */
#else
#define NODES 3
#endif
#define STAYS 4
#define FIRST_SET 7 /* sets are bit masks: nodes 0, 1 and 2 */
#define LENGTH (CLAIMS + ENTRIES)

/* -- logs: an integer, three bits for each record, the first one lowest. A record is the epoch that wrote it: with its
      lsn that names it, for an owner writes each lsn once. Equal hashes at an lsn (rule 4) are equal prefixes here. -- */
#define AT(L, l) (((L) >> (3 * (l) - 3)) & 7)
#define HEAD(L, l) ((L) & ((1 << (3 * (l))) - 1))
#define LEN(L) \
	((L) == 0 -> 0 : ((L) < 8 -> 1 : ((L) < 64 -> 2 : ((L) < 512 -> 3 : ((L) < 4096 -> 4 : \
	((L) < 32768 -> 5 : ((L) < 262144 -> 6 : 7)))))))
#define ALIKE(A, B, l) (HEAD(A, l) == HEAD(B, l))
/* the number of records that two logs have in common before the first difference */
#define SAME(A, B) \
	((A) == (B) -> LEN(A) : (!ALIKE(A, B, 1) -> 0 : (!ALIKE(A, B, 2) -> 1 : (!ALIKE(A, B, 3) -> 2 : \
	(!ALIKE(A, B, 4) -> 3 : (!ALIKE(A, B, 5) -> 4 : (!ALIKE(A, B, 6) -> 5 : 6)))))))
#define LAST(L) AT(L, LEN(L))

#ifdef NO_RULE_2
#define EPOCH(v) ((v) & 3) /* the third bit tells the two incarnations of one epoch apart */
#define RECORD(e) ((e) + 4 * own[e].resumed)
#else
#define EPOCH(v) (v)
#define RECORD(e) (e)
#endif

/* -- sets -- */
#define IN(set, n) (((set) >> (n)) & 1)
#define SIZE(set) (IN(set, 0) + IN(set, 1) + IN(set, 2) + IN(set, 3))
#define MAJORITY(set) (SIZE(set) >= 2)

/* -- the slot record in etcd -- */
unsigned rec_epoch : 3; /* 0: nobody has claimed the slot yet */
bool rec_active;
unsigned rec_set : 4 = FIRST_SET; /* `replicas`; `next_replicas` is the claimant's `next` */

/* -- the replicas. `mem` is what a replica works with, `disk` what a crash leaves -- */
typedef Replica {
	unsigned mem : 21;
	unsigned disk : 21;
	unsigned promised : 3;
	unsigned promised_disk : 3;
	unsigned commit : 3; /* the most that it may have been told is committed */
	unsigned excluded : 3 /* the highest epoch of an ACTIVE record without it */
}
Replica rep[NODES];

/* -- ownerships, by epoch -- */
#define NONE 0
#define SEALING 1
#define COPYING 2
#define ACTIVE 3
#define DEAD 4 /* its messages may still be on their way */

typedef Owner {
	unsigned stage : 3;
	unsigned host : 2;
	unsigned old : 4; /* the last ACTIVE set, as the claim found it */
	unsigned next : 4;
	unsigned seals : 4;
	unsigned log : 21; /* while SEALING: the best that was sealed. Then: its own, barrier included */
	unsigned commit : 3; /* above 0 in every epoch that was ever ACTIVE */
	unsigned match : 12; /* three bits for each node: what is durable there in this epoch, where above `commit` */
	bool resumed
}
Owner own[CLAIMS + 1];

unsigned entries : 3; /* client entries appended so far */
unsigned changes : 2;
unsigned hosts : 2 = 0; /* nodes below this have claimed, by symmetry */
unsigned committed : 21; /* the longest prefix that an ACTIVE owner committed: what was acknowledged */

hidden byte i, k, c, o; /* scratch: not part of a state */

#define ALIVE(e) (own[e].stage >= SEALING && own[e].stage <= ACTIVE)
#define APPENDING(e) (own[e].log && own[e].stage != SEALING) /* its appends may be on their way, even if it is dead */
#define MATCH(e, n) ((own[e].match >> (3 * (n))) & 7)
#define SET_MATCH(e, n, l) own[e].match = (own[e].match & ~(7 << (3 * (n)))) | ((l) << (3 * (n)))
#define AT_LEAST(e, l) \
	((MATCH(e, 0) >= (l)) | (MATCH(e, 1) >= (l)) << 1 | (MATCH(e, 2) >= (l)) << 2 | (MATCH(e, 3) >= (l)) << 3)

/* rule 8 */
#ifdef NO_RULE_8_FSYNC /* its own copy counts at once */
#define HOLDERS(e, l) (AT_LEAST(e, l) | (1 << own[e].host))
#else
#define HOLDERS(e, l) AT_LEAST(e, l)
#endif
#ifdef NO_RULE_8_MAJORITY /* one replica is enough */
#define DURABLE(e, set, l) ((HOLDERS(e, l) & (set)) != 0)
#else
#define DURABLE(e, set, l) MAJORITY(HOLDERS(e, l) & (set))
#endif

/* rules 13, 14: what must be copied before an epoch can be ACTIVE, and the set that counts from then on */
#ifdef NO_RULE_13_BARRIER /* records of older epochs are committed without it */
#define WANTED(e) (LEN(own[e].log) - 1)
#else
#define WANTED(e) LEN(own[e].log)
#endif
#ifdef NO_RULE_13_NEXT
#define COPY_SET(e) own[e].old
#else
#define COPY_SET(e) own[e].next
#endif
#ifdef NO_RULE_14_NEXT
#define ACTIVE_SET(e) own[e].old
#else
#define ACTIVE_SET(e) own[e].next
#endif

/* rules 4 and 10: whether epoch e may still write here */
#ifdef NO_RULE_4_EPOCH
#define MAY_APPEND(e, r) true
#else
#define MAY_APPEND(e, r) ((e) >= rep[r].promised)
#endif
#ifdef NO_RULE_10_HIGHER
#define MAY_SEAL(e, r) true
#else
#define MAY_SEAL(e, r) ((e) >= rep[r].promised)
#endif

/* rule 4: the record before it must match. A late append, of what is long equal, says less than the last one that is
   equal and changes nothing (rule 5); it is left out unless a broken rule makes it matter. */
#ifdef NO_RULE_4_PREVIOUS
#define FOLLOWS(l, mine, log) ((l) - 1 <= LEN(mine))
#else
#define FOLLOWS(l, mine, log) ((l) - 1 <= SAME(mine, log))
#endif
#if defined(NO_RULE_4_PREVIOUS) || defined(NO_RULE_5_SHRINK)
#define WORTH(l, mine, log) true
#else
#define WORTH(l, mine, log) ((l) >= SAME(mine, log))
#endif

/* rules 11 and 12 */
#ifdef NO_RULE_11_ACTIVE
#define SEAL_SET(e) own[e].next
#else
#define SEAL_SET(e) own[e].old
#endif
#ifdef NO_RULE_11_MAJORITY
#define ENOUGH_SEALS(e) true
#else
#define ENOUGH_SEALS(e) MAJORITY(own[e].seals)
#endif
#ifdef NO_RULE_12
#define RANK(L) (LEN(L) << 3 | EPOCH(LAST(L)))
#else
#define RANK(L) (EPOCH(LAST(L)) << 3 | LEN(L))
#endif

/* rules 13 and 14: the copy, then the transaction */
#ifdef NO_RULE_13_COPY
#define COPIED(e) true
#else
#define COPIED(e) DURABLE(e, COPY_SET(e), WANTED(e))
#endif
#ifdef NO_RULE_14_ACTIVE
#define MAY_ACTIVATE(e) COPIED(e)
#else
#define MAY_ACTIVATE(e) (COPIED(e) && rec_epoch == e)
#endif

/* rule 16 */
#ifdef NO_RULE_16_EPOCH
#define MAY_DELETE(r) true
#else
#define MAY_DELETE(r) (rep[r].excluded >= rep[r].promised)
#endif

#define HOSTED(e, r) (ALIVE(e) && own[e].host == r)
#if CLAIMS == 2
#define HOSTS(r) (HOSTED(1, r) || HOSTED(2, r))
#elif CLAIMS == 3
#define HOSTS(r) (HOSTED(1, r) || HOSTED(2, r) || HOSTED(3, r))
#else
#define HOSTS(r) (HOSTED(1, r) || HOSTED(2, r) || HOSTED(3, r) || HOSTED(4, r))
#endif

/* A replica that may forget a promise can hear a dead epoch again. */
#if defined(NO_RULE_4_EPOCH) || defined(NO_RULE_4_PROMISE) || defined(NO_RULE_10_DURABLE) || defined(NO_RULE_10_HIGHER) \
	|| defined(NO_RULE_16_PROMISE)
#define PROMISES_FALL
#endif

/* what must be possible, or the claims hold for want of anything happening */
#ifdef REACH_TAKEOVER /* an acknowledged entry of the first epoch, and a later owner */
#define REACHED own[2].stage == ACTIVE && own[2].host != own[1].host && HEAD(committed, 2) == 9
#endif
#ifdef REACH_CHANGE
#define REACHED rec_active && rec_set != FIRST_SET
#endif
#ifdef REACH_FENCED /* two that believe they own the slot; the first has an entry that nobody takes */
#define REACHED own[1].stage == ACTIVE && own[2].stage == ACTIVE && LEN(own[1].log) > own[1].commit
#endif

/* -- what several actions share. Scratch: `i` counts replicas, `k` epochs, `c` records -- */

inline die(x)
{
	if
	:: own[x].stage == SEALING -> own[x].log = 0
	:: else
	fi;
	own[x].stage = DEAD;
	own[x].seals = 0;
	own[x].match = 0
}

/* The node hears of epoch e: an older ownership of its own is over (`LogCore._overtaken`). */
inline overtake(r, e)
{
	for (k : 1 .. CLAIMS) {
		if
		:: k < e && ALIVE(k) && own[k].host == r -> die(k)
		:: else
		fi
	}
}

#if CHANGE
#define PAST(r, k) (rep[r].promised_disk > k || !IN(own[k].old | own[k].next, r))
#else
#define PAST(r, k) (r == 3 || rep[r].promised_disk > k)
#endif

/* A dead epoch below every promise can do nothing any more: forget it, so that more states are equal. */
inline retire()
{
#ifndef PROMISES_FALL
	for (k : 1 .. CLAIMS) {
		if
		:: own[k].stage == DEAD && PAST(0, k) && PAST(1, k) && PAST(2, k) && PAST(3, k) ->
			own[k].stage = NONE; own[k].host = 0; own[k].old = 0; own[k].next = 0; own[k].log = 0; own[k].commit = 0
		:: else
		fi
	}
#endif
	skip
}

/* rule 5: what replica i may have been told is committed: no more than its owner knows, nor than was proved equal here */
inline learn(e)
{
	if
	:: rep[i].promised == e ->
#ifdef NO_RULE_5_COMMIT
		c = LEN(rep[i].disk);
#else
		c = SAME(rep[i].disk, own[e].log);
#endif
		if
		:: c > own[e].commit -> c = own[e].commit
		:: else
		fi;
		if
		:: c > rep[i].commit -> rep[i].commit = c
		:: else
		fi
	:: else
	fi
}

/* The claims about what is committed. */
inline committing(e)
{
	c = LEN(committed);
	if
	:: c > own[e].commit -> c = own[e].commit
	:: else
	fi;
	assert(ALIKE(own[e].log, committed, c)); /* claims 2 and 3: one record at an lsn, equal prefixes */
	if
	:: own[e].commit > c -> committed = HEAD(own[e].log, own[e].commit)
	:: else
	fi;
	for (k : 1 .. CLAIMS) {
		if
		:: k > e && own[k].commit -> assert(ALIKE(own[k].log, own[e].log, own[e].commit)) /* claim 1 */
		:: else
		fi
	}
}

/* rule 8: acknowledge what a majority of the ACTIVE set holds durably in this epoch */
inline advance(e)
{
	if
	:: own[e].stage == ACTIVE ->
		c = LEN(own[e].log);
		do
		:: c > own[e].commit && !DURABLE(e, ACTIVE_SET(e), c) -> c--
		:: else -> break
		od;
		if
		:: c > own[e].commit ->
			own[e].commit = c;
			committing(e);
			for (i : 0 .. NODES - 1) {
				learn(e);
				if
				:: MATCH(e, i) <= own[e].commit -> SET_MATCH(e, i, 0)
				:: else
				fi
			}
		:: else
		fi
	:: else
	fi
}

/* The owner of epoch e hears that replica r holds its log up to l. */
inline acknowledged(e, r, l)
{
	if
	:: ((own[e].stage == ACTIVE || (own[e].stage == COPYING && rec_epoch == e && l >= WANTED(e))) &&
	   l > own[e].commit && l > MATCH(e, r)) ->
		SET_MATCH(e, r, l);
		advance(e)
	:: else
	fi
}

/* rule 6: everything the replica wrote so far is on its disk; if it hosts an owner, its own copy counts now */
inline sync(r)
{
	rep[r].disk = rep[r].mem;
	rep[r].promised_disk = rep[r].promised;
	for (o : 1 .. CLAIMS) {
		if
		:: ALIVE(o) && APPENDING(o) && own[o].host == r && rep[r].promised == o -> break
		:: else
		fi
	}
	if
	:: o <= CLAIMS -> acknowledged(o, r, LEN(rep[r].disk)); i = r; learn(o)
	:: else
	fi
}

/* -- the actions. Each is one step; its first statement says when it is possible -- */

/* rules 1 and 3: node n claims the slot, whenever it likes; a member that is `gone` gives its place to the fourth node */
inline claim(n, gone)
{
	(rec_epoch < CLAIMS && IN(rec_set, n) && (n <= hosts || n == 3) &&
	(gone == STAYS || (changes < CHANGE && IN(rec_set, gone)))) ->
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
	assert(ALIKE(rep[o].mem, own[e].log, rep[o].commit)); /* rule 5: no cut at or below its own commit */
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
	assert(false);
#endif
	assert(l > rep[r].commit);
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

/* A node's process ends and another starts. rule 2: it owns nothing */
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

#ifdef NO_RULE_2
inline resume(e, r)
{
	own[e].resumed = true;
	own[e].log = rep[r].disk;
	own[e].match = 0;
	if
	:: own[e].commit > LEN(own[e].log) -> own[e].commit = LEN(own[e].log)
	:: else
	fi;
	acknowledged(e, r, LEN(own[e].log))
}
#endif

/* rule 16: a copy that an ACTIVE record, read linearizably at any time since, left out is deleted; its promise stays */
inline delete(r)
{
	rep[r].excluded && MAY_DELETE(r) && rep[r].mem && !HOSTS(r) ->
#ifdef REACH_DELETE
	assert(false);
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

/* -- every action with every epoch, node and record -- */
#define CLAIM(n) \
	:: d_step { claim(n, STAYS) } CHANGES(n)
#if CHANGE
#define CHANGES(n) \
	:: d_step { claim(n, 0) } \
	:: d_step { claim(n, 1) } \
	:: d_step { claim(n, 2) } \
	:: d_step { claim(n, 3) }
#else
#define CHANGES(n)
#endif

#define NODE(r) \
	CLAIM(r) \
	:: d_step { flush(r) } \
	:: d_step { crash(r) } \
	DELETE(r)
#if CHANGE
#define DELETE(r) :: d_step { delete(r) }
#else
#define DELETE(r)
#endif

#define APPEND(e, r, l) :: d_step { append(e, r, l) }
#if LENGTH > 6
#define APPEND_7(e, r) APPEND(e, r, 7)
#else
#define APPEND_7(e, r)
#endif
#if LENGTH > 5
#define APPEND_6(e, r) APPEND(e, r, 6)
#else
#define APPEND_6(e, r)
#endif
#if LENGTH > 4
#define APPEND_5(e, r) APPEND(e, r, 5)
#else
#define APPEND_5(e, r)
#endif
#define PEER(e, r) \
	:: d_step { seal(e, r, true) } \
	:: d_step { seal(e, r, false) } \
	APPEND(e, r, 1) APPEND(e, r, 2) APPEND(e, r, 3) APPEND(e, r, 4) APPEND_5(e, r) APPEND_6(e, r) APPEND_7(e, r)
#if CHANGE
#define PEERS(e) PEER(e, 0) PEER(e, 1) PEER(e, 2) PEER(e, 3)
#else
#define PEERS(e) PEER(e, 0) PEER(e, 1) PEER(e, 2)
#endif

#define OWNER(e) \
	PEERS(e) \
	:: d_step { choose(e) } \
	:: d_step { activate(e) } \
	:: d_step { turn(e) } \
	LATE_RECORD(e)
#ifdef NO_RULE_14_ACTIVE
#define LATE_RECORD(e) :: d_step { own[e].stage == ACTIVE && rec_epoch == e && !rec_active -> set_active(e) }
#else
#define LATE_RECORD(e)
#endif

active proctype system()
{
end:
	do
	NODE(0)
	NODE(1)
	NODE(2)
#if CHANGE
	NODE(3)
#endif
	OWNER(1)
	OWNER(2)
#if CLAIMS > 2
	OWNER(3)
#endif
#if CLAIMS > 3
	OWNER(4)
#endif
#ifdef REACHED
	:: d_step { REACHED -> assert(false) }
#endif
	od
}
