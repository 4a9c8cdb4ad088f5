/* What several actions share. `log.pml` comes first. Scratch: `i` counts replicas, `k` and `o` epochs, `c` records. */

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
#define PAST(r, k) (rep[r].promised_disk > k || r == own[k].host || !IN(own[k].old | own[k].next, r))
#else
#define PAST(r, k) (r == 3 || r == own[k].host || rep[r].promised_disk > k)
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
	assert(ALIKE(own[e].log, committed, c)); /* claim 2: and, as this compares prefixes, claim 3 */
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

/* rule 8: the owner of epoch e hears that replica r holds its log up to l, durably */
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
