// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Network policy on the host side of workload interfaces, as TC classifiers. The policy is data: `code` holds walks and
 * policies as small instructions that one loop interprets, `members` and `nets` hold the sets. The programs are
 * verified once, when they are loaded, and never change.
 *
 * Two generations of everything that decides exist side by side; `settings.generation` says which one counts. An update
 * prepares the other and then flips that one word, so no packet ever meets half an update. A packet carries the
 * generation that judged it at its source in its mark, so that its destination judges it by the same one.
 *
 * Host endpoints (HEP-3) are lists of a machine's own interfaces, and with `*` of all: early ones before it is known
 * where a packet goes, then one for local processes or one for what is forwarded.
 *
 * Layouts are mirrored in layout.py.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ICMP 1
#define TCP 6
#define UDP 17
#define ICMPV6 58
#define SCTP 132
#define MARK_SEEN 0x01000000
#define MARK_GENERATION 0x02000000
#define MARK_FORWARD 0x04000000 /* not for the host itself: the guard table drops it there */
#define MARK_ORIGIN 0x10000000 /* the low bits say which of `origins` the packet has: its source before translation */
#define ORIGINS 0x1000
#define MARKS (MARK_SEEN | MARK_GENERATION | MARK_FORWARD | MARK_ORIGIN | (ORIGINS - 1))
#define MOST_STEPS (1 << 22)
#define SECOND 1000000000ULL

#define TRACES 4

enum direction { INGRESS, EGRESS };

/* What did not come from a user's rule; RuleRef numbers from 16 on are rules and tier ends. */
enum guard { NONE, SPOOFED_, INVALID_, UNKNOWN_INTERFACE, TO_HOST, NO_PROFILE, MALFORMED, NOT_IP, UNDECIDED = 15, GUARDS = 16 };
enum tracked { NEW, ESTABLISHED, RELATED, INVALID, UNTRACKED };
enum fragment { WHOLE, FIRST, LATER };

struct address { __u32 word[4]; }; /* as on the wire; an IPv4 address is in word[0] */

/* -- maps ----------------------------------------------------------------------------------------------------- */

struct settings { __u32 generation, tracing, to_host, origins; }; /* bits: generations that accept packets to the host,
								   and those that ask for sources before translation */
/* Walks of a host endpoint for one interface and direction, and the code that says which ports they leave alone:
   places + 1, 0 for none. */
struct lists { __u32 untracked, early, normal, forward, safe_untracked, safe_early, safe_normal, has_no_link_header; };
struct origin { struct address source; __u32 port, pad; };
struct instruction { __u8 operation, flags; __u16 skip; __u32 argument; };
struct count { __u64 packets, bytes; };
struct endpoint_key { __u32 interface; __u16 direction, generation; };
struct source_key { __u32 interface, family; struct address address; };
struct local_key { __u32 family; struct address address; };
struct member_key { __u32 set, port; struct address address; }; /* port: protocol << 16 | port; 0 for addresses */
struct net_key { __u32 length, set; struct address address; };
struct net { __u32 generations, length; };
struct flow_key { struct address low, high; __u32 interface; __u16 low_port, high_port; __u8 protocol, family; __u16 icmp; };
struct flow { __u64 seen; __u8 from_low, replied, closing, pad[5]; };
struct fragment_key { struct address source, destination; __u32 interface, identification; __u16 direction, protocol; };
struct filter { struct address source, destination; __u16 destination_port; __u8 family, protocol, icmp_type, has_icmp, active, pad; };
struct event {
	struct address source, destination;
	__u64 time;
	__u32 interface, reference;
	__u16 source_port, destination_port, direction;
	__u8 family, protocol, icmp_type, icmp_code, kind, verdict;
	__u32 traces, place;
};
enum event_kind { DROPPED, LOGGED, MET };
enum verdict { CONTINUE, ACCEPT, DROP, PASSED };

#define MAP(name, kind, size, key_type, value_type, more) \
	struct { __uint(type, kind); __uint(max_entries, size); __type(key, key_type); __type(value, value_type); more } name SEC(".maps")
#define FLAGS(flags) __uint(map_flags, flags);

MAP(settings, BPF_MAP_TYPE_ARRAY, 1, __u32, struct settings, );
MAP(code, BPF_MAP_TYPE_ARRAY, 16384, __u32, struct instruction, FLAGS(BPF_F_MMAPABLE));
MAP(counts, BPF_MAP_TYPE_ARRAY, 16384, __u32, struct count, FLAGS(BPF_F_MMAPABLE));
MAP(guards, BPF_MAP_TYPE_ARRAY, 2 * GUARDS, __u32, struct count, FLAGS(BPF_F_MMAPABLE));
MAP(policies, BPF_MAP_TYPE_ARRAY, 8192, __u32, __u64, FLAGS(BPF_F_MMAPABLE)); /* id * 2 + generation: where its code is */
MAP(wide, BPF_MAP_TYPE_ARRAY, 8192, __u32, __u64, FLAGS(BPF_F_MMAPABLE)); /* set: generations in which it has nets */
MAP(endpoints, BPF_MAP_TYPE_HASH, 8192, struct endpoint_key, __u32, FLAGS(BPF_F_NO_PREALLOC));
MAP(hosts, BPF_MAP_TYPE_HASH, 16384, struct endpoint_key, struct lists, FLAGS(BPF_F_NO_PREALLOC));
MAP(origins, BPF_MAP_TYPE_ARRAY, ORIGINS, __u32, struct origin, );
MAP(last_origin, BPF_MAP_TYPE_ARRAY, 1, __u32, __u32, );
MAP(sources, BPF_MAP_TYPE_HASH, 8192, struct source_key, __u32, FLAGS(BPF_F_NO_PREALLOC));
MAP(locals, BPF_MAP_TYPE_HASH, 16384, struct local_key, __u32, FLAGS(BPF_F_NO_PREALLOC));
MAP(members, BPF_MAP_TYPE_HASH, 65536, struct member_key, __u32, FLAGS(BPF_F_NO_PREALLOC));
MAP(nets, BPF_MAP_TYPE_LPM_TRIE, 1048576, struct net_key, struct net, FLAGS(BPF_F_NO_PREALLOC));
MAP(flows, BPF_MAP_TYPE_LRU_HASH, 32768, struct flow_key, struct flow, );
MAP(fragments, BPF_MAP_TYPE_LRU_HASH, 1024, struct fragment_key, __u64, );
MAP(filters, BPF_MAP_TYPE_ARRAY, TRACES, __u32, struct filter, );
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 19); } drops SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 17); } traces SEC(".maps");

/* Functions that are not static are verified by themselves, once, whatever they are called with: hence their null checks. */

/* -- packets -------------------------------------------------------------------------------------------------- */

struct packet {
	struct address source, destination;
	__u32 interface, length, transport, identification, traces;
	__u16 source_port, destination_port, echo, direction;
	__u8 family, protocol, icmp_type, icmp_code, tcp_flags, fragment;
};

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10

static __always_inline int is_ported(__u8 protocol) { return protocol == TCP || protocol == UDP || protocol == SCTP; }

__noinline int parse_transport(struct __sk_buff *skb, struct packet *p, int quoted)
{
	if (!p)
		return -1;
	if (p->fragment == LATER)
		return 0;
	if (is_ported(p->protocol)) {
		__be16 ports[2];
		if (bpf_skb_load_bytes(skb, p->transport, ports, sizeof(ports)))
			return -1;
		p->source_port = bpf_ntohs(ports[0]);
		p->destination_port = bpf_ntohs(ports[1]);
		if (p->protocol == TCP && !quoted && bpf_skb_load_bytes(skb, p->transport + 13, &p->tcp_flags, 1))
			return -1;
	} else if (p->protocol == ICMP || p->protocol == ICMPV6) {
		__u8 head[8];
		if (bpf_skb_load_bytes(skb, p->transport, head, sizeof(head)))
			return -1;
		p->icmp_type = head[0];
		p->icmp_code = head[1];
		p->echo = head[4] << 8 | head[5];
	}
	return 0;
}

static __always_inline int parse_ipv4(struct __sk_buff *skb, __u32 at, struct packet *p)
{
	__u8 head[20];
	if (bpf_skb_load_bytes(skb, at, head, sizeof(head)) || head[0] >> 4 != 4 || (head[0] & 15) < 5)
		return -1;
	__u16 fragment = (head[6] << 8 | head[7]) & 0x3fff;
	p->family = 4;
	p->protocol = head[9];
	__builtin_memcpy(&p->source.word[0], head + 12, 4);
	__builtin_memcpy(&p->destination.word[0], head + 16, 4);
	p->transport = at + (head[0] & 15) * 4;
	p->identification = head[4] << 8 | head[5];
	p->fragment = fragment & 0x1fff ? LATER : fragment ? FIRST : WHOLE;
	return 0;
}

__noinline int parse_ipv6(struct __sk_buff *skb, __u32 at, struct packet *p)
{
	if (!p)
		return -1;
	__u8 head[8];
	if (bpf_skb_load_bytes(skb, at, head, sizeof(head)) || head[0] >> 4 != 6 ||
	    bpf_skb_load_bytes(skb, at + 8, &p->source, 16) || bpf_skb_load_bytes(skb, at + 24, &p->destination, 16))
		return -1;
	__u8 next = head[6];
	at += 40;
	for (int i = 0; i < 8; i++) { /* hop-by-hop, routing, fragment, destination options */
		if (next != 0 && next != 43 && next != 44 && next != 60)
			break;
		if (bpf_skb_load_bytes(skb, at, head, sizeof(head)))
			return -1;
		if (next == 44) {
			__u16 offset = head[2] << 8 | head[3];
			__builtin_memcpy(&p->identification, head + 4, 4);
			p->fragment = offset >> 3 ? LATER : offset & 1 ? FIRST : WHOLE;
		}
		at += next == 44 ? 8 : (head[1] + 1) * 8;
		next = head[0];
		if (p->fragment == LATER)
			break;
	}
	p->family = 6;
	p->protocol = next;
	p->transport = at;
	return 0;
}

static __always_inline int parse(struct __sk_buff *skb, __u32 at, struct packet *p, int family, int quoted)
{
	if (family == 4 ? parse_ipv4(skb, at, p) : parse_ipv6(skb, at, p))
		return -1;
	return parse_transport(skb, p, quoted);
}

/* -- what is told ---------------------------------------------------------------------------------------------- */

static __always_inline void tell(void *ring, struct packet *p, __u32 reference, int kind, int verdict, __u32 place)
{
	struct event *e = bpf_ringbuf_reserve(ring, sizeof(*e), 0);
	if (!e)
		return;
	e->source = p->source;
	e->destination = p->destination;
	e->time = bpf_ktime_get_ns();
	e->interface = p->interface;
	e->reference = reference;
	e->source_port = p->source_port;
	e->destination_port = p->destination_port;
	e->direction = p->direction;
	e->family = p->family;
	e->protocol = p->protocol;
	e->icmp_type = p->icmp_type;
	e->icmp_code = p->icmp_code;
	e->kind = kind;
	e->verdict = verdict;
	e->traces = p->traces;
	e->place = place;
	bpf_ringbuf_submit(e, 0);
}

static __always_inline void met(struct packet *p, __u32 reference, int verdict, __u32 place)
{
	if (p->traces)
		tell(&traces, p, reference, MET, verdict, place);
}

static __always_inline void add(struct count *count, __u32 bytes)
{
	if (!count)
		return;
	__sync_fetch_and_add(&count->packets, 1);
	__sync_fetch_and_add(&count->bytes, bytes);
}

__noinline int drop(struct packet *p, __u32 reference)
{
	if (!p)
		return TC_ACT_SHOT;
	if (reference < GUARDS) {
		__u32 slot = p->direction * GUARDS + reference;
		add(bpf_map_lookup_elem(&guards, &slot), p->length);
		met(p, reference, DROP, 0);
	}
	tell(&drops, p, reference, DROPPED, DROP, 0);
	return TC_ACT_SHOT;
}

static __always_inline int is_same(const struct address *a, const struct address *b)
{
	return !((a->word[0] ^ b->word[0]) | (a->word[1] ^ b->word[1]) | (a->word[2] ^ b->word[2]) | (a->word[3] ^ b->word[3]));
}

__noinline __u32 traces_of(struct packet *p)
{
	if (!p)
		return 0;
	__u32 found = 0;
	for (__u32 i = 0; i < TRACES; i++) {
		__u32 slot = i;
		struct filter *f = bpf_map_lookup_elem(&filters, &slot);
		if (f && f->active && f->family == p->family && f->protocol == p->protocol &&
		    is_same(&f->source, &p->source) && is_same(&f->destination, &p->destination) &&
		    (!f->destination_port || f->destination_port == p->destination_port) &&
		    (!f->has_icmp || f->icmp_type == p->icmp_type))
			found |= 1 << i;
	}
	return found;
}

/* -- connections ----------------------------------------------------------------------------------------------- */

static __always_inline int is_lower(const struct address *a, const struct address *b)
{
	for (int i = 0; i < 4; i++)
		if (a->word[i] != b->word[i])
			return a->word[i] < b->word[i];
	return 0;
}

#define ICMP_REPLY 2 /* besides a request's type << 8 */

/* Both directions of a flow through an interface have one key. True when the packet comes from the lower end. */
__noinline int key_of(const struct packet *p, struct flow_key *key, __u16 first, __u16 second, __u16 icmp)
{
	if (!p || !key)
		return 0;
	int low = is_lower(&p->source, &p->destination);
	key->low = low ? p->source : p->destination;
	key->high = low ? p->destination : p->source;
	key->low_port = low ? first : second;
	key->high_port = low ? second : first;
	key->interface = p->interface;
	key->protocol = p->protocol;
	key->family = p->family;
	key->icmp = !icmp ? 0 : icmp & ICMP_REPLY ? icmp ^ ICMP_REPLY ^ low : icmp ^ !low; /* who asks is part of it */
	return low;
}

enum icmp_kind { REQUEST, REPLY, ERROR, UNSOLICITED, STRAY };

/* What the kernel's own tracking makes of an ICMP type; requests and the replies to them have a number in common. */
static __always_inline int icmp_kind(const struct packet *p, __u16 *icmp)
{
	__u8 type = p->icmp_type;
	*icmp = type << 8;
	if (p->protocol == ICMP) {
		if (type == 8 || type == 13 || type == 15 || type == 17)
			return REQUEST;
		if (type == 0 || type == 14 || type == 16 || type == 18) {
			*icmp = (type ? type - 1 : 8) << 8 | ICMP_REPLY;
			return REPLY;
		}
		return type == 3 || type == 4 || type == 5 || type == 11 || type == 12 ? ERROR : STRAY;
	}
	if (type == 128 || type == 139)
		return REQUEST;
	if (type == 129 || type == 140) {
		*icmp = (type - 1) << 8 | ICMP_REPLY;
		return REPLY;
	}
	if (type < 128)
		return ERROR;
	return (type >= 130 && type <= 136) || type == 143 ? UNSOLICITED : STRAY;
}

static __always_inline int is_icmp(const struct packet *p) { return p->protocol == ICMP || p->protocol == ICMPV6; }

static __always_inline int is_alive(const struct flow_key *key, const struct flow *flow, __u64 now)
{
	__u64 life = 600 * SECOND;
	if (key->protocol == TCP)
		life = (flow->closing == 3 ? 40 : flow->closing ? 60 : flow->replied ? 3600 : 20) * SECOND;
	else if (key->protocol == UDP)
		life = 60 * SECOND;
	else if (key->protocol == ICMP || key->protocol == ICMPV6)
		life = 5 * SECOND;
	return now - flow->seen < life;
}

/* CT-4: an ICMP error belongs to the flow of the packet it quotes. */
__noinline int track_error(struct __sk_buff *skb, struct packet *p)
{
	if (!p)
		return INVALID;
	struct packet quoted = {};
	struct flow_key key = {};
	__u16 icmp = 0;
	if (parse(skb, p->transport + 8, &quoted, p->family, 1) || quoted.fragment == LATER)
		return INVALID;
	__u16 first = quoted.source_port, second = quoted.destination_port;
	if (is_icmp(&quoted)) {
		if (icmp_kind(&quoted, &icmp) > REPLY)
			return INVALID;
		first = second = quoted.echo;
	}
	quoted.interface = p->interface;
	key_of(&quoted, &key, first, second, icmp);
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);
	return flow && is_alive(&key, flow, bpf_ktime_get_ns()) ? RELATED : INVALID;
}

/* CT-2: established means an answer was seen; before it, each packet of the opener is new and judged again. */
__noinline int track_flow(struct packet *p, struct flow_key *key, int low)
{
	if (!p || !key)
		return INVALID;
	int opening = p->protocol != TCP || (p->tcp_flags & (SYN | ACK | RST | FIN)) == SYN;
	struct flow *flow = bpf_map_lookup_elem(&flows, key);
	__u64 now = bpf_ktime_get_ns();
	if (!flow || !is_alive(key, flow, now))
		return opening ? NEW : INVALID;
	int forward = low == flow->from_low;
	if (p->protocol == TCP) {
		if (opening && flow->closing == 3)
			return NEW;
		if (p->tcp_flags & RST)
			flow->closing = 3;
		else if (p->tcp_flags & FIN)
			flow->closing |= forward ? 1 : 2;
	}
	if (now - flow->seen > SECOND / 4)
		flow->seen = now;
	if (!forward && !flow->replied)
		flow->replied = 1;
	return flow->replied ? ESTABLISHED : NEW;
}

static __always_inline int track(struct __sk_buff *skb, struct packet *p, struct flow_key *key, int *low)
{
	__u16 first = p->source_port, second = p->destination_port;
	__u16 icmp = 0;
	int kind = REQUEST;
	if (is_icmp(p)) {
		kind = icmp_kind(p, &icmp);
		if (kind == ERROR)
			return track_error(skb, p);
		if (kind == UNSOLICITED)
			return UNTRACKED;
		if (kind == STRAY)
			return INVALID;
		first = second = p->echo;
	}
	*low = key_of(p, key, first, second, icmp);
	int state = track_flow(p, key, *low);
	return state == NEW && kind == REPLY ? INVALID : state;
}

static __always_inline void remember(struct packet *p, struct flow_key *key, int low)
{
	struct flow flow = { .seen = bpf_ktime_get_ns(), .from_low = low };
	bpf_map_update_elem(&flows, key, &flow, BPF_ANY);
}

static __always_inline void fragment_key(const struct packet *p, struct fragment_key *key)
{
	key->source = p->source;
	key->destination = p->destination;
	key->interface = p->interface;
	key->identification = p->identification;
	key->direction = p->direction;
	key->protocol = p->protocol;
}

/* Later fragments have no ports: they share the fate of their first one. */
__noinline int later_fragment_is_allowed(struct packet *p)
{
	if (!p)
		return 0;
	struct fragment_key key = {};
	fragment_key(p, &key);
	__u64 *seen = bpf_map_lookup_elem(&fragments, &key);
	return seen && bpf_ktime_get_ns() - *seen < 30 * SECOND;
}

__noinline int allow_later_fragments(struct packet *p)
{
	if (!p)
		return 0;
	struct fragment_key key = {};
	__u64 now = bpf_ktime_get_ns();
	fragment_key(p, &key);
	return bpf_map_update_elem(&fragments, &key, &now, BPF_ANY);
}

/* -- policy ---------------------------------------------------------------------------------------------------- */

enum operation {
	END, /* of a policy: no rule decided; the walk goes on */
	FAMILY, PROTOCOL, ICMP_TYPE, ICMP_TYPE_CODE, PORTS, ADDRESS, ADDRESS_AND_PORT, /* tests */
	ALLOW, DENY, PASS, LOG, /* argument: the rule's number */
	POLICY, /* argument: policy; skip: where the walk goes on when the policy passes */
	GO_ON, /* the end of a walk that need not decide */
};
#define WHEN_TRUE 1 /* a test skips when it holds, and not when it fails */
#define OF_DESTINATION 2
#define LEAVES 4 /* a test that skips leaves its policy: it is in the last rule */
#define OF_PROTOCOL 4 /* bits to shift: 1 TCP, 2 UDP, 3 SCTP, 0 any that has ports */

struct run {
	struct packet *packet;
	__u32 at, next, passed, generation, reference, budget;
	__u8 verdict, pad[3];
};

__noinline int is_member(__u32 set, __u32 port, const struct address *address, __u32 generation)
{
	if (!address)
		return 0;
	struct member_key key = { .set = set, .port = port, .address = *address };
	__u32 *generations = bpf_map_lookup_elem(&members, &key);
	return generations && *generations >> generation & 1;
}

/* Of two nets that hold an address, one may be of the other generation alone: then the next wider one is asked. */
__noinline int is_in_net(__u32 set, const struct address *address, __u32 generation)
{
	if (!address)
		return 0;
	__u64 *has_nets = bpf_map_lookup_elem(&wide, &set);
	if (!has_nets || !(*has_nets >> generation & 1))
		return 0;
	struct net_key key = { .length = 32 + 128, .set = set, .address = *address };
	for (int i = 0; i < 2; i++) {
		struct net *net = bpf_map_lookup_elem(&nets, &key);
		if (!net)
			return 0;
		if (net->generations >> generation & 1)
			return 1;
		key.length = net->length - 1;
	}
	return 0;
}

static __always_inline __u8 protocol_of(__u8 flags)
{
	__u8 which = flags >> OF_PROTOCOL;
	return which == 1 ? TCP : which == 2 ? UDP : SCTP;
}

static __always_inline int holds(struct packet *p, __u8 operation, __u8 flags, __u32 argument, __u32 generation)
{
	const struct address *address = flags & OF_DESTINATION ? &p->destination : &p->source;
	__u16 port = flags & OF_DESTINATION ? p->destination_port : p->source_port;
	__u32 set = argument * 2 + (p->family == 6);
	switch (operation) {
	case FAMILY:
		return p->family == argument;
	case PROTOCOL:
		return p->protocol == argument;
	case ICMP_TYPE:
		return is_icmp(p) && p->icmp_type == argument;
	case ICMP_TYPE_CODE:
		return is_icmp(p) && (p->icmp_type << 8 | p->icmp_code) == argument;
	case PORTS:
		if (flags >> OF_PROTOCOL ? p->protocol != protocol_of(flags) : !is_ported(p->protocol))
			return 0;
		return port >= argument >> 16 && port <= (argument & 0xffff);
	case ADDRESS:
		return is_member(set, 0, address, generation) || is_in_net(set, address, generation);
	default:
		return is_member(set, (__u32)p->protocol << 16 | port, address, generation);
	}
}

static long step(__u32 number, struct run *run)
{
	__u32 at = run->at;
	struct packet *p = run->packet;
	struct instruction *code_at = bpf_map_lookup_elem(&code, &at);
	if (!code_at) {
		run->verdict = DROP; /* fail closed: out of the map */
		return 1;
	}
	struct instruction i = *code_at;
	if (i.operation >= FAMILY && i.operation <= ADDRESS_AND_PORT) {
		int skips = holds(p, i.operation, i.flags, i.argument, run->generation) == (i.flags & WHEN_TRUE);
		run->at = !skips ? at + 1 : i.flags & LEAVES ? run->next : at + i.skip;
		return 0;
	}
	if (i.operation == POLICY) {
		__u32 slot = i.argument * 2 + run->generation;
		__u64 *start = bpf_map_lookup_elem(&policies, &slot);
		if (!start) {
			run->verdict = DROP;
			return 1;
		}
		run->next = at + 1;
		run->passed = at + i.skip;
		run->at = *start;
		return 0;
	}
	if (i.operation == END) {
		run->at = run->next;
		return 0;
	}
	if (i.operation == GO_ON) {
		run->reference = UNDECIDED;
		run->verdict = DROP;
		return 1;
	}
	add(bpf_map_lookup_elem(&counts, &at), p->length);
	if (i.operation == LOG) {
		met(p, i.argument, CONTINUE, at);
		tell(&drops, p, i.argument, LOGGED, CONTINUE, at);
		run->at = at + 1;
		return 0;
	}
	if (i.operation == PASS) {
		met(p, i.argument, PASSED, at);
		run->at = run->passed;
		return 0;
	}
	run->reference = i.argument;
	run->verdict = i.operation == ALLOW ? ACCEPT : DROP;
	if (i.argument >= GUARDS)
		met(p, i.argument, run->verdict, at);
	return 1;
}

/* Go through a walk. 0: allowed; UNDECIDED: it goes on; otherwise what to tell of the drop. */
__noinline __u32 follow(struct packet *p, __u32 start, __u32 generation)
{
	if (!p)
		return UNKNOWN_INTERFACE;
	struct run run = { .packet = p, .at = start, .next = start, .passed = start, .generation = generation };
	bpf_loop(MOST_STEPS, step, &run, 0);
	if (run.verdict == ACCEPT)
		return 0;
	return run.reference ? run.reference : NO_PROFILE;
}

/* The walk of a workload interface: 0 or what to tell of the drop. */
static __always_inline __u32 judge(struct packet *p, __u32 generation)
{
	struct endpoint_key key = { .interface = p->interface, .direction = p->direction, .generation = generation };
	__u32 *start = bpf_map_lookup_elem(&endpoints, &key);
	return start ? follow(p, *start, generation) : UNKNOWN_INTERFACE;
}

/* A list of a host endpoint; without one, or where a failsafe port leaves it alone (HEP-9), nothing is decided. */
__noinline __u32 ask(struct packet *p, __u32 list, __u32 safe, __u32 generation)
{
	if (!p || !list)
		return UNDECIDED;
	if (safe && !follow(p, safe - 1, generation))
		return UNDECIDED;
	return follow(p, list - 1, generation);
}

static __always_inline int denies(__u32 reference) { return reference && reference != UNDECIDED; }

static __always_inline struct lists *lists_of(struct packet *p, __u16 direction, __u32 generation)
{
	struct endpoint_key key = { .interface = p->interface, .direction = direction, .generation = generation };
	return bpf_map_lookup_elem(&hosts, &key);
}

/* -- the two hooks --------------------------------------------------------------------------------------------- */

/* CT-5: from its own addresses only. Link-local ones never leave the link. */
__noinline int is_own_source(struct packet *p, __u32 generation)
{
	if (!p)
		return 0;
	struct source_key key = { .interface = p->interface, .family = p->family, .address = p->source };
	__u32 *generations = bpf_map_lookup_elem(&sources, &key);
	if (generations && *generations >> generation & 1)
		return 1;
	if (p->family != 6)
		return 0;
	if ((p->source.word[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000))
		return 1;
	int unspecified = !(p->source.word[0] | p->source.word[1] | p->source.word[2] | p->source.word[3]);
	return unspecified && p->protocol == ICMPV6 && p->icmp_type == 135;
}

__noinline int is_known_interface(struct packet *p, __u32 generation)
{
	if (!p)
		return 0;
	struct endpoint_key key = { .interface = p->interface, .direction = p->direction, .generation = generation };
	return bpf_map_lookup_elem(&endpoints, &key) != 0;
}

/* Whether the host would take a packet for its own. Should it have an address we do not know of, MARK_FORWARD speaks. */
__noinline int is_to_host(const struct packet *p)
{
	if (!p)
		return 1;
	__u32 first = bpf_ntohl(p->destination.word[0]);
	if (p->family == 4 ? first >> 28 >= 14 : first >> 24 == 0xff || first >> 22 == 0xfe80 >> 6)
		return 1; /* multicast, broadcast, link-local: nothing that is forwarded */
	struct local_key key = { .family = p->family, .address = p->destination };
	return bpf_map_lookup_elem(&locals, &key) != 0;
}

static __always_inline int is_neighbour_discovery(const struct packet *p)
{
	__u8 type = p->icmp_type; /* HEP-12 */
	return p->protocol == ICMPV6 && ((type >= 130 && type <= 133) || type == 135 || type == 136);
}

/* The packet, or where to go without one: negative when there is none to judge. */
static __always_inline int take(struct __sk_buff *skb, struct packet *p, struct settings *now, int direction, __u32 at)
{
	p->interface = skb->ifindex;
	p->direction = direction;
	p->length = skb->len - at;
	int family = skb->protocol == bpf_htons(ETH_P_IP) ? 4 : skb->protocol == bpf_htons(ETH_P_IPV6) ? 6 : 0;
	if (!family || parse(skb, at, p, family, 0)) {
		__u32 slot = direction * GUARDS + (family ? MALFORMED : NOT_IP);
		add(bpf_map_lookup_elem(&guards, &slot), p->length);
		return -1;
	}
	if (now->tracing)
		p->traces = traces_of(p);
	return 0;
}

static __always_inline int let_through(struct packet *p)
{
	if (p->fragment == FIRST)
		allow_later_fragments(p);
	return TC_ACT_UNSPEC; /* as far as we are concerned; others' filters still have their say */
}

/* Policy behind the translation of addresses sees the source before it (NAT-4): its place goes along in the mark. */
__noinline __u32 keep_origin(const struct packet *p)
{
	__u32 zero = 0, place;
	__u32 *last = bpf_map_lookup_elem(&last_origin, &zero);
	if (!p || !last)
		return 0;
	place = __sync_fetch_and_add(last, 1) & (ORIGINS - 1);
	struct origin *origin = bpf_map_lookup_elem(&origins, &place);
	if (origin) {
		origin->source = p->source;
		origin->port = p->source_port;
	}
	return place;
}

__noinline int give_origin(struct packet *p, __u32 place)
{
	struct origin *origin = bpf_map_lookup_elem(&origins, &place);
	if (!p || !origin)
		return 0;
	p->source = origin->source;
	p->source_port = origin->port;
	return 1;
}

SEC("tc")
int from_workload(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct settings *now = bpf_map_lookup_elem(&settings, &zero);
	struct packet p = {};
	struct flow_key key = {};
	int low = 0;
	if (!now)
		return TC_ACT_SHOT;
	__u32 generation = now->generation & 1;
	skb->mark = (skb->mark & ~MARKS) | MARK_SEEN | (generation ? MARK_GENERATION : 0);
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return TC_ACT_UNSPEC;
	if (take(skb, &p, now, EGRESS, ETH_HLEN))
		return TC_ACT_SHOT;
	if (!is_own_source(&p, generation)) {
		if (is_known_interface(&p, generation))
			return drop(&p, SPOOFED_);
		return is_neighbour_discovery(&p) && is_to_host(&p) ? TC_ACT_UNSPEC : drop(&p, UNKNOWN_INTERFACE);
	}
	if (p.fragment == LATER)
		return later_fragment_is_allowed(&p) ? TC_ACT_UNSPEC : drop(&p, INVALID_);
	if (is_neighbour_discovery(&p) && is_to_host(&p))
		return TC_ACT_UNSPEC;
	int state = track(skb, &p, &key, &low);
	if (state == ESTABLISHED || state == RELATED) {
		met(&p, NONE, ACCEPT, 0);
		return let_through(&p);
	}
	if (state == INVALID)
		return drop(&p, INVALID_);
	int to_host = is_to_host(&p);
	struct lists *lists = lists_of(&p, INGRESS, generation); /* HEP-11 */
	if (lists) {
		__u32 said = ask(&p, lists->early, lists->safe_early, generation);
		if (said && !denies(said) && !to_host)
			said = ask(&p, lists->forward, 0, generation);
		if (denies(said))
			return drop(&p, said);
	}
	__u32 reference = judge(&p, generation);
	if (reference)
		return drop(&p, reference);
	if (!(now->to_host >> generation & 1)) { /* HEP-12 */
		if (to_host)
			return drop(&p, TO_HOST);
		skb->mark |= MARK_FORWARD;
	}
	if (now->origins >> generation & 1)
		skb->mark |= MARK_ORIGIN | keep_origin(&p);
	if (state == NEW)
		remember(&p, &key, low);
	return let_through(&p);
}

SEC("tc")
int to_workload(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct settings *now = bpf_map_lookup_elem(&settings, &zero);
	struct packet p = {};
	struct flow_key key = {};
	int low = 0;
	if (!now)
		return TC_ACT_SHOT;
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return TC_ACT_UNSPEC;
	if (take(skb, &p, now, INGRESS, ETH_HLEN))
		return TC_ACT_SHOT;
	__u32 generation = (skb->mark & MARK_SEEN ? !!(skb->mark & MARK_GENERATION) : now->generation) & 1;
	int from_host = skb->ingress_ifindex == 0; /* CT-1 */
	if (p.fragment == LATER)
		return from_host || later_fragment_is_allowed(&p) ? TC_ACT_UNSPEC : drop(&p, INVALID_);
	int state = track(skb, &p, &key, &low);
	if (state == ESTABLISHED || state == RELATED) {
		met(&p, NONE, ACCEPT, 0);
		return let_through(&p);
	}
	if (!from_host) {
		if (state == INVALID)
			return drop(&p, INVALID_);
		struct address source = p.source;
		__u16 source_port = p.source_port;
		if (skb->mark & MARK_ORIGIN)
			give_origin(&p, skb->mark & (ORIGINS - 1));
		__u32 reference = judge(&p, generation);
		if (reference)
			return drop(&p, reference);
		struct lists *lists = lists_of(&p, EGRESS, generation); /* HEP-11 */
		if (lists && denies(reference = ask(&p, lists->forward, 0, generation)))
			return drop(&p, reference);
		p.source = source;
		p.source_port = source_port;
	}
	if (state == NEW)
		remember(&p, &key, low);
	return let_through(&p);
}

/* What a machine's own interface receives (HEP-6): untracked, early, then for itself or to be forwarded. */
SEC("tc")
int from_host_interface(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct settings *now = bpf_map_lookup_elem(&settings, &zero);
	struct packet p = { .interface = skb->ifindex };
	struct flow_key key = {};
	int low = 0;
	if (!now)
		return TC_ACT_SHOT;
	__u32 generation = now->generation & 1;
	skb->mark = (skb->mark & ~MARKS) | MARK_SEEN | (generation ? MARK_GENERATION : 0);
	struct lists *lists = lists_of(&p, INGRESS, generation);
	if (!lists || (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6)))
		return TC_ACT_UNSPEC;
	if (take(skb, &p, now, INGRESS, lists->has_no_link_header ? 0 : ETH_HLEN))
		return TC_ACT_SHOT;
	if (is_neighbour_discovery(&p))
		return TC_ACT_UNSPEC;
	if (p.fragment == LATER)
		return later_fragment_is_allowed(&p) ? TC_ACT_UNSPEC : drop(&p, INVALID_);
	__u32 said = ask(&p, lists->untracked, lists->safe_untracked, generation);
	if (denies(said))
		return drop(&p, said);
	if (!said)
		return let_through(&p); /* HEP-4 */
	int state = track(skb, &p, &key, &low);
	if (state == ESTABLISHED || state == RELATED) {
		met(&p, NONE, ACCEPT, 0);
		return let_through(&p);
	}
	int to_host = is_to_host(&p);
	if (state == INVALID && (lists->early || (to_host ? lists->normal : lists->forward)))
		return drop(&p, INVALID_);
	said = ask(&p, lists->early, lists->safe_early, generation);
	if (said == UNDECIDED) /* HEP-5: what an early list allows is not asked again */
		said = to_host ? ask(&p, lists->normal, lists->safe_normal, generation) : ask(&p, lists->forward, 0, generation);
	if (denies(said))
		return drop(&p, said);
	if (state == NEW)
		remember(&p, &key, low);
	return let_through(&p);
}

/* What leaves by a machine's own interface: from its processes, or forwarded. */
SEC("tc")
int to_host_interface(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct settings *now = bpf_map_lookup_elem(&settings, &zero);
	struct packet p = { .interface = skb->ifindex };
	struct flow_key key = {};
	int low = 0;
	if (!now)
		return TC_ACT_SHOT;
	int own = skb->ingress_ifindex == 0;
	__u32 generation = (skb->mark & MARK_SEEN && !own ? !!(skb->mark & MARK_GENERATION) : now->generation) & 1;
	struct lists *lists = lists_of(&p, EGRESS, generation);
	if (!lists || (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6)))
		return TC_ACT_UNSPEC;
	if (take(skb, &p, now, EGRESS, lists->has_no_link_header ? 0 : ETH_HLEN))
		return TC_ACT_SHOT;
	if (is_neighbour_discovery(&p))
		return TC_ACT_UNSPEC;
	if (p.fragment == LATER)
		return later_fragment_is_allowed(&p) ? TC_ACT_UNSPEC : drop(&p, INVALID_);
	__u32 said = own ? ask(&p, lists->untracked, lists->safe_untracked, generation) : UNDECIDED;
	if (denies(said))
		return drop(&p, said);
	if (!said)
		return let_through(&p);
	int state = track(skb, &p, &key, &low);
	if (state == ESTABLISHED || state == RELATED) {
		met(&p, NONE, ACCEPT, 0);
		return let_through(&p);
	}
	if (state == INVALID && (own ? lists->normal : lists->forward))
		return drop(&p, INVALID_);
	struct address source = p.source;
	__u16 source_port = p.source_port;
	if (!own && skb->mark & MARK_ORIGIN)
		give_origin(&p, skb->mark & (ORIGINS - 1));
	said = own ? ask(&p, lists->normal, lists->safe_normal, generation) : ask(&p, lists->forward, 0, generation);
	if (denies(said))
		return drop(&p, said);
	p.source = source;
	p.source_port = source_port;
	if (state == NEW)
		remember(&p, &key, low);
	return let_through(&p);
}

char _license[] SEC("license") = "GPL";
