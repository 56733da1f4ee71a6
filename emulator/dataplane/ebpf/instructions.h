/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What policy is made of in the map `code`: assembler.c and encode.py write it, rules.h runs it. */
#pragma once
#include <linux/types.h>

struct instruction { __u8 operation, flags; __u16 skip; __u32 argument; };

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
