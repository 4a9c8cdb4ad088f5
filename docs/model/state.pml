/* What a state of the model is made of: logs, sets, the slot record, replicas, ownerships. `log.pml` comes first. */
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

#ifdef NO_CLAIM_5
#define QUIET true
#else
#define QUIET false
#endif

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

/* what an action is about, and scratch; all 0 between actions */
unsigned e : 3;
unsigned r : 3;
unsigned l : 3;
unsigned i : 3;
unsigned k : 3;
unsigned c : 3;
unsigned o : 3;

#define ALIVE(e) (own[e].stage >= SEALING && own[e].stage <= ACTIVE)
#define APPENDING(e) (own[e].log && own[e].stage != SEALING) /* its appends may be on their way, even if it is dead */
#define MATCH(e, n) ((own[e].match >> (3 * (n))) & 7)
#define SET_MATCH(e, n, l) own[e].match = (own[e].match & ~(7 << (3 * (n)))) | ((l) << (3 * (n)))
#define AT_LEAST(e, l) \
	((MATCH(e, 0) >= (l)) | (MATCH(e, 1) >= (l)) << 1 | (MATCH(e, 2) >= (l)) << 2 | (MATCH(e, 3) >= (l)) << 3)
