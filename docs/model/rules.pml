/* Each rule as a condition or a set, and what stands there when `NO_RULE_x` breaks it. `log.pml` comes first. */

/* rule 8: what is held durably by enough of a set */
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

/* rules 13 and 14: what must be copied before an epoch can be ACTIVE, and the set that counts from then on */
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

/* rules 11 and 12: whose seals count, how many are enough, and which log is better */
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

/* rule 16: the record that left the copy out is no older than its promise */
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
