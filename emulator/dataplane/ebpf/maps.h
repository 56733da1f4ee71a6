/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the programs and the agent share: the maps and their layouts, mirrored in layout.py. */
#pragma once
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>
#include "instructions.h"

#define MARK_SEEN 0x01000000
#define MARK_GENERATION 0x02000000
#define MARK_FORWARD 0x04000000 /* not for the host itself: the guard table drops it there */
#define MARK_UNTRACKED 0x08000000 /* the guard table keeps the kernel's own tracking from it */
#define MARK_ORIGIN 0x10000000 /* the low bits say which of `origins` the packet has: its source before translation */
#define ORIGINS 0x1000
#define MARKS (MARK_SEEN | MARK_GENERATION | MARK_FORWARD | MARK_UNTRACKED | MARK_ORIGIN | (ORIGINS - 1))
#define SECOND 1000000000ULL
#define TRACES 4
#define COUNTED 3

enum direction { INGRESS, EGRESS };

/* What did not come from a user's rule; RuleRef numbers from 16 on are rules and tier ends. */
enum guard { NONE, SPOOFED_, INVALID_, UNKNOWN_INTERFACE, TO_HOST, NO_PROFILE, MALFORMED, NOT_IP, ENCAPSULATED, UNDECIDED = 15, GUARDS = 16 };

struct address { __u32 word[4]; }; /* as on the wire; an IPv4 address is in word[0] */

/* The epoch moves with every update; its low bit is the generation that decides. A bit for each generation says which
   accept packets to the host, and which ask for sources before translation. A walk of `long_walk` steps is remembered. */
#define IPIP_REFUSED 0x10000
/* `encapsulation`: by generation, what no workload may send (CT-6): the UDP port of VXLAN or 0, and IPIP_REFUSED. */
struct settings { __u32 epoch, tracing, to_host, origins, long_walk, encapsulation[2]; };
/* Walks of a host endpoint for one interface and direction, and the code that says which ports they leave alone:
   places + 1, 0 for none. */
struct lists { __u32 untracked, early, normal, forward, safe_untracked, safe_early, safe_normal, has_no_link_header; };
struct origin { struct address source; __u32 port, pad; };
struct count { __u64 packets, bytes; };
struct endpoint_key { __u32 interface; __u16 direction, generation; };
struct source_key { __u32 interface, family; struct address address; };
struct local_key { __u32 family; struct address address; };
#define UNTRANSLATED 0x80000000 /* no packet to this address is */
struct pod { __u32 interface[2]; }; /* by generation, of an address: to what packets are handed over, 0 for nothing */
struct member_key { __u32 set, port; struct address address; }; /* port: protocol << 16 | port; 0 for addresses */
struct net_key { __u32 length, set; struct address address; };
struct net { __u32 generations, length; };
struct flow_key { struct address low, high; __u32 interface; __u16 low_port, high_port; __u8 protocol, family; __u16 icmp; };
/* `mac`: of who sends from behind the interface, once it is learned. */
struct flow { __u64 seen; __u8 from_low, replied, closing, learned, mac[6], pad[6]; };
struct fragment_key { struct address source, destination; __u32 interface, identification; __u16 direction, protocol; };
/* All that a walk may ask, source ports aside; `port` is an ICMP message's type << 8 | code. */
struct verdict_key { struct address source, destination; __u32 walk; __u16 port; __u8 family, protocol; };
struct verdict { __u32 epoch, reference, counted[COUNTED]; }; /* counted: places + 1 of the rules to count, 0 for none */
struct filter { struct address source, destination; __u16 destination_port; __u8 family, protocol, icmp_type, has_icmp, active, pad; };
struct event {
	struct address source, destination;
	__u64 time;
	__u32 interface, reference;
	__u16 source_port, destination_port, direction;
	__u8 family, protocol, icmp_type, icmp_code, kind, verdict;
	__u32 traces, place;
};

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
MAP(pods, BPF_MAP_TYPE_HASH, 8192, struct local_key, struct pod, FLAGS(BPF_F_NO_PREALLOC));
MAP(members, BPF_MAP_TYPE_HASH, 65536, struct member_key, __u32, FLAGS(BPF_F_NO_PREALLOC));
MAP(nets, BPF_MAP_TYPE_LPM_TRIE, 1048576, struct net_key, struct net, FLAGS(BPF_F_NO_PREALLOC));
MAP(flows, BPF_MAP_TYPE_LRU_HASH, 32768, struct flow_key, struct flow, );
MAP(fragments, BPF_MAP_TYPE_LRU_HASH, 1024, struct fragment_key, __u64, );
MAP(verdicts, BPF_MAP_TYPE_LRU_HASH, 16384, struct verdict_key, struct verdict, );
MAP(filters, BPF_MAP_TYPE_ARRAY, TRACES, __u32, struct filter, );
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 19); } drops SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 17); } traces SEC(".maps");

static __always_inline struct settings *current_settings(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&settings, &zero);
}

static __always_inline int is_same(const struct address *a, const struct address *b)
{
	return !((a->word[0] ^ b->word[0]) | (a->word[1] ^ b->word[1]) | (a->word[2] ^ b->word[2]) | (a->word[3] ^ b->word[3]));
}
