/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* From rules to instructions. Reads rules and blocks of rules where they are: as objects of the Python interpreter.

   A rule is its tests and then its action; a test that fails goes to the next rule. Alternatives (RULE-5) are tests that
   go to the end of their group when they hold; a negated list is tests that go to the next rule when they hold. Rules of
   a long list are in blocks (emulator/dataplane/blocks.py): tests that fail go past the whole block.

   A list is written from its end to its beginning, for a test says how far it is to what lies behind, and then turned
   round. In C, for a program of ten thousand policies is to be in the kernel as soon as the kernel can take it. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include "instructions.h"

#define FARTHEST 0xFFFF /* instructions a test may skip */
#define ACTIONS 4
#define FEW 8 /* items of a list that are asked for beforehand */
#define LINE 64 /* bytes of memory that come at once */

#define TCP 6
#define UDP 17
#define SCTP 132

/* -- what is read: fields of frozen structs of msgspec -------------------------------------------------------------- */

#define EACH_MATCH(X) \
	X(family) X(protocol) X(not_protocol) X(icmp) X(not_icmp) \
	X(source_nets) X(not_source_nets) X(destination_nets) X(not_destination_nets) \
	X(source_sets) X(not_source_sets) X(destination_sets) X(not_destination_sets) \
	X(source_ports) X(source_port_sets) X(not_source_ports) X(not_source_port_sets) \
	X(destination_ports) X(destination_port_sets) X(not_destination_ports) X(not_destination_port_sets)
#define EACH_RULE(X) X(action) X(index) X(match)
#define EACH_PORTS(X) X(low) X(high)
#define EACH_BLOCK(X) X(cover) X(items)

#define MEMBER(name) Py_ssize_t name; /* where it is in an object */
#define NAME(name) #name,
static struct { EACH_MATCH(MEMBER) } matches;
static struct { EACH_RULE(MEMBER) } rules;
static struct { EACH_PORTS(MEMBER) } ranges;
static struct { EACH_BLOCK(MEMBER) } blocks;
static PyTypeObject *rule_type, *block_type;
static PyObject *actions[ACTIONS];

/* Borrowed: an object that never changes keeps what its fields hold. */
static PyObject *get(PyObject *object, Py_ssize_t field) { return *(PyObject **)((char *)object + field); }

/* What is not of its type is as good as empty, and whoever asked will find the exception. */
static Py_ssize_t length_of(PyObject *tuple)
{
	if (PyTuple_Check(tuple))
		return PyTuple_GET_SIZE(tuple);
	PyErr_Format(PyExc_TypeError, "%s where a tuple belongs", Py_TYPE(tuple)->tp_name);
	return 0;
}

static PyObject *at(PyObject *tuple, Py_ssize_t place) { return PyTuple_GET_ITEM(tuple, place); }
static __u32 number(PyObject *object) { return (__u32)PyLong_AsUnsignedLongMask(object); }

/* -- what is written ------------------------------------------------------------------------------------------------ */

struct draft {
	struct instruction *words;
	Py_ssize_t count, room;
	PyObject *sets; /* numbers, by a set's base id or by a list of nets */
	PyObject *nets; /* lists of nets that the rules of the list in hand name */
};

static void put(struct draft *d, __u8 operation, __u8 flags, Py_ssize_t skip, __u32 argument)
{
	if (d->count == d->room) {
		Py_ssize_t room = d->room * 2 + 1024;
		struct instruction *words = PyMem_Realloc(d->words, room * sizeof *words);
		if (!words) {
			PyErr_NoMemory();
			return;
		}
		d->words = words;
		d->room = room;
	}
	d->words[d->count++] = (struct instruction){ operation, flags, (__u16)skip, argument };
}

static void test(struct draft *d, __u8 operation, __u8 flags, __u32 argument, Py_ssize_t behind)
{
	put(d, operation, flags, d->count - behind, argument);
}

/* The number of a set or of a list of nets; there may be no more. */
static __u32 number_of(struct draft *d, PyObject *name)
{
	PyObject *found = PyObject_GetItem(d->sets, name);
	if (!found)
		return 0;
	__u32 is = number(found);
	Py_DECREF(found);
	return is;
}

static void each_set(struct draft *d, __u8 operation, PyObject *names, __u8 flags, Py_ssize_t behind)
{
	for (Py_ssize_t i = length_of(names); i--;)
		test(d, operation, flags, number_of(d, at(names, i)), behind);
}

/* A list with nothing for a family takes the rule out of that family, negated or not (RULE-4). */
static void one_net(struct draft *d, PyObject *nets, __u8 flags, Py_ssize_t behind)
{
	if (!length_of(nets))
		return;
	PyList_Append(d->nets, nets);
	test(d, ADDRESS, flags, number_of(d, nets), behind);
	if (!(flags & WHEN_TRUE))
		return;
	Py_ssize_t of_6 = 0;
	for (Py_ssize_t i = 0; i < length_of(nets); i++) {
		PyObject *text = at(nets, i);
		of_6 += PyUnicode_FindChar(text, ':', 0, PyUnicode_GET_LENGTH(text), 1) >= 0;
	}
	if (of_6 == 0 || of_6 == length_of(nets))
		test(d, FAMILY, flags & LEAVES, of_6 ? 6 : 4, behind);
}

static __u32 span(PyObject *ports) { return number(get(ports, ranges.low)) << 16 | number(get(ports, ranges.high)); }

/* Ranges, one of which has to hold: those that do go to the end of the group; the last one decides. */
static void one_range(struct draft *d, PyObject *ports, __u8 flags, Py_ssize_t behind, Py_ssize_t group)
{
	for (Py_ssize_t i = length_of(ports); i--;) {
		test(d, PORTS, flags, span(at(ports, i)), behind);
		flags = (flags & ~LEAVES) | WHEN_TRUE;
		behind = group;
	}
}

/* The same of ranges and sets of named ports. */
static void one_port(struct draft *d, PyObject *ports, PyObject *sets, __u8 flags, Py_ssize_t behind)
{
	Py_ssize_t group = d->count - 1;
	for (Py_ssize_t i = length_of(sets); i--;) {
		test(d, ADDRESS_AND_PORT, flags, number_of(d, at(sets, i)), behind);
		flags = (flags & ~LEAVES) | WHEN_TRUE;
		behind = group;
	}
	one_range(d, ports, flags, behind, group);
}

static void no_port(struct draft *d, PyObject *ports, PyObject *sets, __u8 flags, Py_ssize_t behind)
{
	each_set(d, ADDRESS_AND_PORT, sets, flags | WHEN_TRUE, behind);
	for (Py_ssize_t i = length_of(ports); i--;)
		test(d, PORTS, flags | WHEN_TRUE, span(at(ports, i)), behind);
}

/* The ports of one side. Returns whether the tests ask for the protocol on the way, so that it needs none of its own. */
static int ports_of(struct draft *d, PyObject *ports, PyObject *sets, PyObject *not_ports, PyObject *not_sets,
		    __u8 flags, __u8 protocol, Py_ssize_t behind)
{
	no_port(d, not_ports, not_sets, flags, behind);
	if (length_of(sets)) {
		one_port(d, ports, sets, flags, behind);
		return 0;
	}
	one_range(d, ports, flags | protocol << OF_PROTOCOL, behind, d->count - 1);
	return protocol && length_of(ports);
}

/* Of a block's condition one range that holds them all: each is a test, so that more would cost what they spare. */
static int widest_range(struct draft *d, PyObject *ports, __u8 protocol, Py_ssize_t behind)
{
	__u32 low = 0xffff, high = 0;
	for (Py_ssize_t i = 0; i < length_of(ports); i++) {
		__u32 each = span(at(ports, i));
		low = each >> 16 < low ? each >> 16 : low;
		high = (each & 0xffff) > high ? each & 0xffff : high;
	}
	if (length_of(ports))
		test(d, PORTS, OF_DESTINATION | protocol << OF_PROTOCOL, low << 16 | high, behind);
	return protocol && length_of(ports);
}

static void icmp(struct draft *d, PyObject *kind, __u8 flags, Py_ssize_t behind)
{
	if (kind == Py_None)
		return;
	__u32 type = number(at(kind, 0));
	if (at(kind, 1) == Py_None)
		test(d, ICMP_TYPE, flags, type, behind);
	else
		test(d, ICMP_TYPE_CODE, flags, type << 8 | number(at(kind, 1)), behind);
}

static void is_number(struct draft *d, __u8 operation, PyObject *value, __u8 flags, Py_ssize_t behind)
{
	if (value != Py_None)
		test(d, operation, flags, number(value), behind);
}

#define ASKED(field) get(match, matches.field)

/* What a match asks, the cheap questions first (RULE-1); what fails goes to the place `behind`. */
static void tests(struct draft *d, PyObject *match, __u8 flags, Py_ssize_t behind, int is_condition)
{
	each_set(d, ADDRESS, ASKED(not_destination_sets), flags | OF_DESTINATION | WHEN_TRUE, behind);
	each_set(d, ADDRESS, ASKED(destination_sets), flags | OF_DESTINATION, behind);
	each_set(d, ADDRESS, ASKED(not_source_sets), flags | WHEN_TRUE, behind);
	each_set(d, ADDRESS, ASKED(source_sets), flags, behind);
	one_net(d, ASKED(not_destination_nets), flags | OF_DESTINATION | WHEN_TRUE, behind);
	one_net(d, ASKED(destination_nets), flags | OF_DESTINATION, behind);
	one_net(d, ASKED(not_source_nets), flags | WHEN_TRUE, behind);
	one_net(d, ASKED(source_nets), flags, behind);
	PyObject *protocol = ASKED(protocol);
	__u32 is = protocol == Py_None ? 0 : number(protocol);
	__u8 word = is == TCP ? 1 : is == UDP ? 2 : is == SCTP ? 3 : 0; /* as a test of ports can ask for it */
	int asked;
	if (is_condition) {
		asked = widest_range(d, ASKED(destination_ports), word, behind);
	} else {
		asked = ports_of(d, ASKED(destination_ports), ASKED(destination_port_sets), ASKED(not_destination_ports),
				 ASKED(not_destination_port_sets), flags | OF_DESTINATION, word, behind);
		asked |= ports_of(d, ASKED(source_ports), ASKED(source_port_sets), ASKED(not_source_ports),
				  ASKED(not_source_port_sets), flags, word, behind);
	}
	icmp(d, ASKED(not_icmp), flags | WHEN_TRUE, behind);
	icmp(d, ASKED(icmp), flags, behind);
	is_number(d, PROTOCOL, ASKED(not_protocol), flags | WHEN_TRUE, behind);
	if (!asked)
		is_number(d, PROTOCOL, protocol, flags, behind);
	is_number(d, FAMILY, ASKED(family), flags, behind);
}

static void rule(struct draft *d, PyObject *rule, __u32 first, __u8 flags)
{
	Py_ssize_t behind = d->count - 1, begin = d->count + 1;
	PyObject *action = get(rule, rules.action);
	__u32 which = 0;
	while (which < ACTIONS && actions[which] != action && PyUnicode_Compare(actions[which], action))
		which++;
	put(d, ALLOW + which, 0, 0, first + (number(get(rule, rules.index)) + 1) * ACTIONS + which);
	tests(d, get(rule, rules.match), flags, behind, 0);
	if (!PyErr_Occurred() && d->count - begin > FARTHEST - 1)
		PyErr_SetNone(PyExc_OverflowError);
}

/* What a block asks, before it; nothing where that could not skip so far. */
static void condition(struct draft *d, PyObject *block, Py_ssize_t behind)
{
	Py_ssize_t begin = d->count;
	PyObject *match = PyObject_GetAttrString(get(block, blocks.cover), "match");
	if (!match)
		return;
	tests(d, match, 0, behind, 1);
	Py_DECREF(match);
	if (d->count - behind - 1 > FARTHEST)
		d->count = begin;
}

/* Rules, and blocks of rules, whose numbers begin with `first`. `flags`: of the tests in the last rule. */
static void items(struct draft *d, PyObject *list, __u32 first, __u8 flags)
{
	for (Py_ssize_t i = length_of(list); i-- && !PyErr_Occurred(); flags = 0) {
		PyObject *item = at(list, i);
		if (Py_TYPE(item) == rule_type) {
			rule(d, item, first, flags);
		} else if (Py_TYPE(item) == block_type) {
			Py_ssize_t behind = d->count - 1;
			items(d, get(item, blocks.items), first, flags);
			condition(d, item, behind);
		} else {
			PyErr_Format(PyExc_TypeError, "%s among rules", Py_TYPE(item)->tp_name);
		}
	}
}

static void turn_round(struct instruction *first, struct instruction *last)
{
	for (; first < last; first++, last--) {
		struct instruction between = *first;
		*first = *last;
		*last = between;
	}
}

/* One list behind the ones before; notes its length, and the lists of nets that it names. */
static int one_list(struct draft *d, PyObject *list, PyObject *first, int of_walk, PyObject *lengths, PyObject *named)
{
	Py_ssize_t begin = d->count;
	put(d, of_walk ? END : GO_ON, 0, 0, 0);
	items(d, list, number(first), of_walk ? LEAVES : 0);
	if (PyErr_Occurred())
		return -1;
	turn_round(d->words + begin, d->words + d->count - 1);
	PyObject *length = PyLong_FromSsize_t(d->count - begin);
	if (!length || PyList_Append(lengths, length) < 0) {
		Py_XDECREF(length);
		return -1;
	}
	Py_DECREF(length);
	if (!PyList_GET_SIZE(d->nets))
		return 0;
	PyObject *place = PyLong_FromSsize_t(PyList_GET_SIZE(lengths) - 1), *nets = PyList_AsTuple(d->nets);
	int failed = !place || !nets || PyDict_SetItem(named, place, nets) < 0;
	Py_XDECREF(place);
	Py_XDECREF(nets);
	return failed ? -1 : PyList_SetSlice(d->nets, 0, PyList_GET_SIZE(d->nets), NULL);
}

static PyObject *list_at(PyObject *lists, Py_ssize_t place)
{
	return place < PyList_GET_SIZE(lists) ? PyList_GET_ITEM(lists, place) : NULL;
}

/* Of an item in a list; NULL for a block. */
static PyObject *match_at(PyObject *list, Py_ssize_t place)
{
	return Py_TYPE(at(list, place)) == rule_type ? get(at(list, place), rules.match) : NULL;
}

/* Objects are all over the memory, and to wait for them takes longer than all else here: ask for those of the lists to
   come, a step further into each with every list. */
static void look_ahead(PyObject *lists, Py_ssize_t place)
{
	PyObject *list, *match;
	if ((list = list_at(lists, place + 12)))
		__builtin_prefetch(list);
	if ((list = list_at(lists, place + 8)))
		for (Py_ssize_t i = 0; i < length_of(list) && i < FEW; i++)
			__builtin_prefetch(at(list, i));
	if ((list = list_at(lists, place + 4)))
		for (Py_ssize_t i = 0; i < length_of(list) && i < FEW; i++)
			if ((match = match_at(list, i)))
				for (size_t field = 0; field < sizeof matches; field += LINE)
					__builtin_prefetch((char *)match + field);
	if ((list = list_at(lists, place + 2)))
		for (Py_ssize_t i = 0; i < length_of(list) && i < FEW; i++)
			if ((match = match_at(list, i))) {
				__builtin_prefetch(ASKED(source_sets));
				__builtin_prefetch(ASKED(destination_ports));
			}
}

static PyObject *all_lists(struct draft *d, PyObject *lists, PyObject *firsts, int of_walk)
{
	PyObject *lengths = PyList_New(0), *named = PyDict_New(), *found = NULL;
	int failed = !lengths || !named;
	for (Py_ssize_t i = 0; !failed && i < PyList_GET_SIZE(lists); i++) {
		look_ahead(lists, i);
		failed = one_list(d, PyList_GET_ITEM(lists, i), PyList_GET_ITEM(firsts, i), of_walk, lengths, named) < 0;
	}
	if (!failed)
		found = Py_BuildValue("y#OO", (char *)d->words, d->count * (Py_ssize_t)sizeof *d->words, lengths, named);
	Py_XDECREF(lengths);
	Py_XDECREF(named);
	return found;
}

/* -- what Python calls ---------------------------------------------------------------------------------------------- */

PyDoc_STRVAR(assemble_doc, "assemble(lists, firsts, sets, of_walk, /): (code, lengths, named lists of nets) of lists of items.");
static PyObject *assemble(PyObject *module, PyObject *arguments)
{
	PyObject *lists, *firsts, *sets;
	int of_walk;
	if (!PyArg_ParseTuple(arguments, "O!O!Op", &PyList_Type, &lists, &PyList_Type, &firsts, &sets, &of_walk))
		return NULL;
	if (PyList_GET_SIZE(lists) != PyList_GET_SIZE(firsts)) {
		PyErr_SetString(PyExc_ValueError, "not as many first numbers as lists");
		return NULL;
	}
	struct draft draft = { .sets = sets, .nets = PyList_New(0) };
	PyObject *found = draft.nets ? all_lists(&draft, lists, firsts, of_walk) : NULL;
	Py_XDECREF(draft.nets);
	PyMem_Free(draft.words);
	return found;
}

static long highest(PyObject *list)
{
	long most = -1;
	for (Py_ssize_t i = 0; i < length_of(list); i++) {
		PyObject *item = at(list, i);
		if (Py_TYPE(item) != rule_type) {
			PyErr_Format(PyExc_TypeError, "%s among rules", Py_TYPE(item)->tp_name);
			return -1;
		}
		long index = PyLong_AsLong(get(item, rules.index));
		most = index > most ? index : most;
	}
	return most;
}

PyDoc_STRVAR(highest_doc, "highest(lists, /): the highest index of a rule in each list of rules; -1 for none.");
static PyObject *highest_of_all(PyObject *module, PyObject *arguments)
{
	PyObject *lists, *found;
	if (!PyArg_ParseTuple(arguments, "O!", &PyList_Type, &lists) || !(found = PyList_New(PyList_GET_SIZE(lists))))
		return NULL;
	for (Py_ssize_t i = 0; i < PyList_GET_SIZE(lists); i++) {
		PyObject *index = PyLong_FromLong(highest(PyList_GET_ITEM(lists, i)));
		if (!index || PyErr_Occurred()) {
			Py_XDECREF(index);
			Py_DECREF(found);
			return NULL;
		}
		PyList_SET_ITEM(found, i, index);
	}
	return found;
}

/* Where a type keeps its fields. */
static int learn(PyTypeObject *type, const char *const *names, Py_ssize_t *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		PyObject *descriptor = PyObject_GetAttrString((PyObject *)type, names[i]);
		if (!descriptor)
			return -1;
		Py_DECREF(descriptor); /* the type has it */
		PyMemberDef *member = ((PyMemberDescrObject *)descriptor)->d_member;
		if (Py_TYPE(descriptor) != &PyMemberDescr_Type || member->type != T_OBJECT_EX) {
			PyErr_Format(PyExc_TypeError, "%s.%s is no field of a struct", type->tp_name, names[i]);
			return -1;
		}
		fields[i] = member->offset;
	}
	return 0;
}

#define LEARN(type, each, where) \
	({ \
		static const char *const names[] = { each(NAME) }; \
		learn((PyTypeObject *)type, names, (Py_ssize_t *)&where, sizeof names / sizeof *names); \
	})

PyDoc_STRVAR(know_doc, "know(ProgramRule, Match, PortRange, Block, actions, /): what is going to be read.");
static PyObject *know(PyObject *module, PyObject *arguments)
{
	PyObject *rule, *match, *ports, *block;
	if (!PyArg_ParseTuple(arguments, "OOOO(OOOO)", &rule, &match, &ports, &block, &actions[0], &actions[1],
			      &actions[2], &actions[3]))
		return NULL;
	if (LEARN(rule, EACH_RULE, rules) || LEARN(match, EACH_MATCH, matches) || LEARN(ports, EACH_PORTS, ranges) ||
	    LEARN(block, EACH_BLOCK, blocks))
		return NULL;
	for (int i = 0; i < ACTIONS; i++)
		Py_INCREF(actions[i]);
	Py_INCREF(rule);
	Py_INCREF(block);
	rule_type = (PyTypeObject *)rule;
	block_type = (PyTypeObject *)block;
	Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
	{ "assemble", assemble, METH_VARARGS, assemble_doc },
	{ "highest", highest_of_all, METH_VARARGS, highest_doc },
	{ "know", know, METH_VARARGS, know_doc },
	{ NULL },
};
static struct PyModuleDef module = { PyModuleDef_HEAD_INIT, "assembler", NULL, -1, methods };

PyMODINIT_FUNC PyInit_assembler(void) { return PyModule_Create(&module); }
