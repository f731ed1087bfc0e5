/* Native reader: JSON records to typed columns, without a Python object a record and without the interpreter's lock.

It reads what is plain RFC 8259 and gives the values that decoder.py's rules give. What it is not sure of (a lone surrogate,
a time of an unusual form, deep nesting, anything that is no JSON) it leaves out and names, and Python reads that record. So
the Python reader stays the definition, and this file decides nothing on its own.

Why C and no parser of others: a parser makes a tree or objects first; here a value goes from the bytes into its column. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include "_native.h"
#include "_texts.h"
#include "_lasting.h"

#define GUESSES 256 /* keys of a record whose order is remembered */

typedef struct { Bytes at; uint32_t size; } Text;

/* The strings of a column, each once, in order of appearance. */
typedef struct { Text *texts; uint64_t *hashes; int32_t count, room, *slots; uint32_t mask; } Vocabulary;

/* One column: kind n(umber) s(tring) f(lag) t(ime) i(dentity) h(olds an object: its record is left to Python); `position` in an
array or -1; `next` of the same key. */
typedef struct {
    int kind, next;
    Py_ssize_t position;
    union { double *numbers; int32_t *codes; int8_t *flags; int64_t *times; } at;
    int32_t *sizes; /* of identities, whose places in the payload are `at.times` */
    uint64_t *hashes; /* of identities */
    Vocabulary words;
} Column;

typedef struct { Text name; int first, list; } Key;
typedef struct { Text name; int key; } Guess;
typedef struct Chunk { struct Chunk *next; size_t used, room; unsigned char bytes[]; } Chunk;

typedef struct {
    Column *columns;
    Key *keys;
    int width, known;
    int64_t count, room, holes, hole_room, *hole; /* a hole: payload, index (-1: the whole payload), begin, end */
    int32_t *payload, *index;
    Chunk *arena; /* unescaped strings */
    uint64_t seed;
    Bytes begin; /* of the payload being read */
    int elsewhere, no_memory;
    Guess guesses[GUESSES];
} Reader;

static void *grown(Reader *r, void *block, int64_t count, size_t size) {
    void *found = realloc(block, (size_t)count * size);
    if (found == NULL) r->no_memory = 1;
    return found == NULL ? block : found;
}

/* ---- strings ---- */

static unsigned char *room_for(Reader *r, size_t size) {
    if (r->arena == NULL || r->arena->room - r->arena->used < size) {
        size_t room = size > 65536 ? size : 65536;
        Chunk *chunk = malloc(sizeof(Chunk) + room);
        if (chunk == NULL) { r->no_memory = 1; return NULL; }
        *chunk = (Chunk){r->arena, 0, room};
        r->arena = chunk;
    }
    return r->arena->bytes + r->arena->used;
}

/* Undo the escapes of a scanned string; NULL with `elsewhere` where one is a surrogate. */
static Bytes unescaped(Reader *r, Bytes p, Bytes end, Bytes *out_end) {
    unsigned char *out = room_for(r, (size_t)(end - p)), *o = out; /* it only gets shorter */
    while (out != NULL && p < end) {
        if (*p != '\\') { *o++ = *p++; continue; }
        static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
        const char *known = p[1] == 'u' ? NULL : strchr(from, p[1]);
        if (p[1] != 'u') { *o++ = known ? (unsigned char)to[known - from] : p[1]; p += 2; continue; }
        int code = hex_of(p[2]) << 12 | hex_of(p[3]) << 8 | hex_of(p[4]) << 4 | hex_of(p[5]);
        p += 6;
        if (code >= 0xd800 && code < 0xe000) { r->elsewhere = 1; return NULL; }
        if (code < 0x80) { *o++ = (unsigned char)code; continue; }
        if (code < 0x800) *o++ = (unsigned char)(0xc0 | code >> 6);
        else { *o++ = (unsigned char)(0xe0 | code >> 12); *o++ = (unsigned char)(0x80 | (code >> 6 & 0x3f)); }
        *o++ = (unsigned char)(0x80 | (code & 0x3f));
    }
    if (out != NULL) r->arena->used += (size_t)(o - out);
    *out_end = o;
    return out;
}

/* For vocabularies the seed is drawn anew in every process, so that nobody can send strings that all meet; codes do not depend
on it. Identities have seed 0: `identity_hashes` in batch.py is the same function. */
static uint64_t hash_of(Bytes p, size_t size, uint64_t seed) {
    uint64_t hash = seed ^ (size * 0x9e3779b97f4a7c15ull), word;
    for (; size >= 8; p += 8, size -= 8) {
        memcpy(&word, p, 8);
        hash = (hash ^ word) * 0x9fb21c651e98df25ull;
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, p, size);
    hash = (hash ^ word) * 0x9fb21c651e98df25ull;
    return hash ^ hash >> 29;
}

static int widen(Reader *r, Vocabulary *words) {
    uint32_t size = words->slots == NULL ? 64 : (words->mask + 1) * 4;
    int32_t room = (int32_t)(size / 2), *slots = malloc(size * sizeof(int32_t));
    if (slots == NULL) { r->no_memory = 1; return 0; }
    words->texts = grown(r, words->texts, room, sizeof(Text));
    words->hashes = grown(r, words->hashes, room, sizeof(uint64_t));
    memset(slots, 0xff, size * sizeof(int32_t));
    free(words->slots);
    *words = (Vocabulary){words->texts, words->hashes, words->count, room, slots, size - 1};
    for (int32_t code = 0; code < words->count && !r->no_memory; code++) {
        uint32_t place = (uint32_t)words->hashes[code] & words->mask;
        while (slots[place] >= 0) place = (place + 1) & words->mask;
        slots[place] = code;
    }
    return !r->no_memory;
}

static int32_t code_of(Reader *r, Vocabulary *words, Bytes p, Bytes end) {
    if (r->no_memory || (words->count == words->room && !widen(r, words))) return -1;
    size_t size = (size_t)(end - p);
    uint64_t hash = hash_of(p, size, r->seed);
    uint32_t place = (uint32_t)hash & words->mask;
    for (int32_t code; (code = words->slots[place]) >= 0; place = (place + 1) & words->mask)
        if (words->hashes[code] == hash && words->texts[code].size == size && memcmp(words->texts[code].at, p, size) == 0)
            return code;
    words->texts[words->count] = (Text){p, (uint32_t)size};
    words->hashes[words->count] = hash;
    return words->slots[place] = words->count++;
}

static int32_t string_of(Reader *r, Column *c, const Value *v) {
    Bytes p = v->at, end = v->end;
    if (v->type != STRING) return -1;
    if (v->marks & NOT_ASCII && !is_utf8(p, end)) r->elsewhere = 1;
    if (v->marks & ESCAPED && !r->elsewhere) p = unescaped(r, p, end, &end);
    return r->elsewhere || p == NULL ? -1 : code_of(r, &c->words, p, end);
}

/* ---- records ---- */

static void clear(Column *c, int64_t i) {
    switch (c->kind) {
    case 'n': c->at.numbers[i] = NAN; break;
    case 's': c->at.codes[i] = -1; break;
    case 'f': c->at.flags[i] = -1; break;
    case 't': c->at.times[i] = NO_TIME; break;
    case 'h': break;
    default: c->at.times[i] = 0; c->sizes[i] = -1; c->hashes[i] = 0;
    }
}

static void store(Reader *r, Column *c, const Value *v) {
    int64_t i = r->count;
    switch (c->kind) {
    case 'n': c->at.numbers[i] = number_of(v, &r->elsewhere); break;
    case 's': c->at.codes[i] = string_of(r, c, v); break;
    case 'f': c->at.flags[i] = v->type == TRUE_ ? 1 : v->type == FALSE_ ? 0 : -1; break;
    case 't': c->at.times[i] = time_of(v, &r->elsewhere); break;
    case 'h': r->elsewhere |= v->type == NESTED && memchr(v->at, '{', (size_t)(v->end - v->at)) != NULL; break;
    default:
        if (v->type == STRING && v->marks) r->elsewhere = 1;
        c->at.times[i] = v->type == STRING ? v->at - r->begin : 0;
        c->sizes[i] = v->type == STRING ? (int32_t)(v->end - v->at) : -1;
        c->hashes[i] = v->type == STRING ? hash_of(v->at, (size_t)(v->end - v->at), 0) : 0;
    }
}

static Bytes take_list(Reader *r, const Key *key, Bytes p, Bytes end) {
    Value value;
    p = space(p + 1, end);
    if (p < end && *p == ']') return p + 1;
    for (Py_ssize_t position = 0;; position++) {
        if ((p = any_value(space(p, end), end, &value)) == NULL) return NULL;
        for (int c = key->first; c >= 0; c = r->columns[c].next)
            if (r->columns[c].position == position) store(r, &r->columns[c], &value);
        p = space(p, end);
        if (p < end && *p == ']') return p + 1;
        if (p >= end || *p++ != ',') return NULL;
    }
}

static Bytes take(Reader *r, const Key *key, Bytes p, Bytes end) {
    Value value;
    if (key->list) { /* the last of two with the same key counts, also where it holds nothing */
        for (int c = key->first; c >= 0; c = r->columns[c].next) clear(&r->columns[c], r->count);
        return p < end && *p == '[' ? take_list(r, key, p, end) : any_value(p, end, &value);
    }
    p = any_value(p, end, &value);
    for (int c = key->first; p != NULL && c >= 0; c = r->columns[c].next) store(r, &r->columns[c], &value);
    return p;
}

static int key_of(const Reader *r, Bytes p, size_t size) {
    for (int i = 0; i < r->known; i++)
        if (r->keys[i].name.size == size && memcmp(r->keys[i].name.at, p, size) == 0) return i;
    return -1;
}

/* Read a record that opens at `p` into the columns at `count`; NULL where it is not plain JSON on one line. */
static Bytes record(Reader *r, Bytes p, Bytes end) {
    Value ignored;
    for (int c = 0; c < r->width; c++) clear(&r->columns[c], r->count);
    p = space(p + 1, end);
    if (p < end && *p == '}') return p + 1;
    for (int place = 0;; place++) {
        if (p >= end || *p++ != '"') return NULL;
        Guess fresh, *guess = place < GUESSES ? &r->guesses[place] : &fresh; /* most records have the keys of the last one */
        size_t size = place < GUESSES ? guess->name.size : 0;
        if (size == 0 || (size_t)(end - p) <= size || p[size] != '"' || memcmp(p, guess->name.at, size) != 0) {
            int marks = 0;
            Bytes quote = string_end(p, end, &marks);
            if (quote == NULL || marks & ESCAPED) return NULL;
            size = (size_t)(quote - p);
            *guess = (Guess){{p, (uint32_t)size}, key_of(r, p, size)};
        }
        p = space(p + size + 1, end);
        if (p >= end || *p != ':') return NULL;
        p = space(p + 1, end);
        p = guess->key < 0 ? any_value(p, end, &ignored) : take(r, &r->keys[guess->key], p, end);
        if (p == NULL) return NULL;
        p = space(p, end);
        if (p < end && *p == '}') return p + 1;
        if (p >= end || *p != ',') return NULL;
        p = space(p + 1, end);
    }
}

static void make_room(Reader *r) {
    if (r->count < r->room) return;
    r->room = r->room ? r->room * 2 : 1024;
    r->payload = grown(r, r->payload, r->room, sizeof(int32_t));
    r->index = grown(r, r->index, r->room, sizeof(int32_t));
    for (int c = 0; c < r->width; c++) {
        Column *column = &r->columns[c];
        size_t size = column->kind == 'f' || column->kind == 'h' ? 1 : column->kind == 's' ? 4 : 8;
        column->at.flags = grown(r, column->at.flags, r->room, size);
        if (column->kind != 'i') continue;
        column->sizes = grown(r, column->sizes, r->room, sizeof(int32_t));
        column->hashes = grown(r, column->hashes, r->room, sizeof(uint64_t));
    }
}

static void leave(Reader *r, int64_t payload, int64_t index, Bytes begin, Bytes end) {
    if (r->holes == r->hole_room) {
        r->hole_room = r->hole_room ? r->hole_room * 2 : 64;
        r->hole = grown(r, r->hole, r->hole_room * 4, sizeof(int64_t));
        if (r->no_memory) return;
    }
    int64_t *hole = r->hole + 4 * r->holes++;
    hole[0] = payload, hole[1] = index, hole[2] = begin - r->begin, hole[3] = end - r->begin;
}

static int is_blank(unsigned char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Read a payload line by line; a line that is left out is a hole.

A message that is one JSON value over several lines is left whole to Python: its first line is no record. Behind a first
record nothing but more lines can follow, as no JSON value holds an object and then something else. */
static void payload(Reader *r, int32_t number, Bytes p, Bytes end, int lines) {
    int64_t first = r->count;
    int32_t index = 0;
    r->begin = p;
    while (p < end && !r->no_memory) {
        Bytes behind = NULL, line = p;
        while (p < end && *p != '\n' && is_blank(*p)) p++;
        if (p < end && *p == '{' && space(line, p) == p) {
            make_room(r);
            if (r->no_memory) return;
            r->elsewhere = 0;
            behind = record(r, p, end);
            if (behind != NULL) behind = space(behind, end);
            if (behind != NULL && behind < end && *behind != '\n') behind = NULL;
        } else if (p == end || *p == '\n') {
            p++;
            continue;
        }
        if (behind == NULL && index == 0 && !lines) break;
        if (behind == NULL || r->elsewhere) {
            if (behind == NULL) behind = memchr(p, '\n', (size_t)(end - p));
            if (behind == NULL) behind = end;
            leave(r, number, index, line, behind);
        } else {
            r->payload[r->count] = number;
            r->index[r->count++] = index;
        }
        index++;
        p = behind + 1;
    }
    if (index == 0) {
        r->count = first;
        leave(r, number, -1, r->begin, end);
    }
}

/* ---- Python ---- */

/* Take keys given as (key, kind, position): columns in this order, those of one key chained. */
static int prepare(Reader *r, PyObject *spec) {
    Py_ssize_t width = PyTuple_Size(spec);
    if (width < 0 || (r->columns = calloc((size_t)width + 1, sizeof(Column))) == NULL) return -1;
    if ((r->keys = calloc((size_t)width + 1, sizeof(Key))) == NULL) return -1;
    for (r->width = 0; r->width < width; r->width++) {
        Column *column = &r->columns[r->width];
        const char *name;
        Py_ssize_t size;
        if (!PyArg_ParseTuple(PyTuple_GetItem(spec, r->width), "y#Cn", &name, &size, &column->kind, &column->position))
            return -1;
        int key = key_of(r, (Bytes)name, (size_t)size);
        if (key < 0) r->keys[key = r->known++] = (Key){{(Bytes)name, (uint32_t)size}, -1, column->position >= 0};
        column->next = r->keys[key].first;
        r->keys[key].first = r->width;
    }
    return 0;
}

/* Give the strings of a column and their lasting numbers. */
static PyObject *strings(const Reader *r, const Column *c) {
    const Vocabulary *words = &c->words;
    PyObject *list = PyList_New(words->count);
    int32_t *numbers = malloc((size_t)(words->count + 1) * sizeof(int32_t));
    if (numbers == NULL && list != NULL) {
        Py_CLEAR(list);
        PyErr_NoMemory();
    }
    for (int32_t i = 0; list != NULL && i < words->count; i++) {
        const char *at = (const char *)words->texts[i].at;
        PyObject *text = lasting_text(at, words->texts[i].size, words->hashes[i], &numbers[i]);
        if (text == NULL || PyList_SetItem(list, i, text) < 0) Py_CLEAR(list);
    }
    PyObject *out = NULL;
    if (list != NULL)
        out = Py_BuildValue("(NNNL)", array(c->at.codes, r->count, 4), list, array(numbers, words->count, 4), lasting.generation);
    return free(numbers), out;
}

static PyObject *column_of(const Reader *r, const Column *c) {
    if (c->kind == 's') return strings(r, c);
    if (c->kind == 'i')
        return Py_BuildValue("(NNN)", array(c->at.times, r->count, 8), array(c->sizes, r->count, 4), array(c->hashes, r->count, 8));
    return array(c->at.flags, c->kind == 'h' ? 0 : r->count, c->kind == 'f' ? 1 : 8);
}

static PyObject *result(const Reader *r) {
    if (lasting.count > LASTING) forget_lasting();
    PyObject *columns = PyTuple_New(r->width);
    for (int c = 0; columns != NULL && c < r->width; c++) {
        PyObject *column = column_of(r, &r->columns[c]);
        if (column == NULL || PyTuple_SetItem(columns, c, column) < 0) Py_CLEAR(columns);
    }
    if (columns == NULL) return NULL;
    return Py_BuildValue("(NNNN)", array(r->payload, r->count, 4), array(r->index, r->count, 4), columns,
                         array(r->hole, r->holes * 4, 8));
}

static void release(Reader *r) {
    for (int c = 0; c < r->width; c++) {
        Column *column = &r->columns[c];
        free(column->at.flags), free(column->sizes), free(column->hashes);
        free(column->words.texts), free(column->words.hashes), free(column->words.slots);
    }
    for (Chunk *chunk = r->arena, *next; chunk != NULL; chunk = next) next = chunk->next, free(chunk);
    free(r->columns), free(r->keys), free(r->payload), free(r->index), free(r->hole), free(r);
}

/* Find the bytes of every payload; None is an empty one. */
static int collect(PyObject *payloads, Bytes *starts, Py_ssize_t *sizes) {
    for (Py_ssize_t i = 0; i < PyTuple_Size(payloads); i++) {
        PyObject *each = PyTuple_GetItem(payloads, i);
        char *at = "";
        sizes[i] = 0;
        if (each != Py_None && PyBytes_AsStringAndSize(each, &at, &sizes[i]) < 0) return -1;
        starts[i] = (Bytes)at;
    }
    return 0;
}

/* Read payloads into columns; frees `starts` and `sizes`. What holds the bytes is the caller's. */
static PyObject *read_all(PyObject *spec, Py_ssize_t count, Bytes *starts, Py_ssize_t *sizes, int lines, uint64_t seed) {
    PyObject *out = NULL;
    Reader *r = calloc(1, sizeof(Reader));
    if (r == NULL) {
        PyErr_NoMemory();
    } else if (prepare(r, spec) == 0) {
        r->seed = seed;
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < count && !r->no_memory; i++)
            payload(r, (int32_t)i, starts[i], starts[i] + sizes[i], lines);
        Py_END_ALLOW_THREADS
        out = r->no_memory ? PyErr_NoMemory() : result(r);
    } else if (!PyErr_Occurred()) {
        PyErr_NoMemory();
    }
    if (r != NULL) release(r);
    free(starts), free(sizes);
    return out;
}

static int places(Py_ssize_t count, Bytes **starts, Py_ssize_t **sizes) {
    *starts = calloc((size_t)count + 1, sizeof(Bytes));
    *sizes = calloc((size_t)count + 1, sizeof(Py_ssize_t));
    if (*starts != NULL && *sizes != NULL) return 0;
    free(*starts), free(*sizes);
    PyErr_NoMemory();
    return -1;
}

static PyObject *read_columns(PyObject *module, PyObject *arguments) {
    PyObject *spec, *given, *out = NULL;
    int lines;
    unsigned long long seed;
    Bytes *starts;
    Py_ssize_t *sizes;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!OpK", &PyTuple_Type, &spec, &given, &lines, &seed)) return NULL;
    PyObject *payloads = PySequence_Tuple(given); /* holds every payload until the end */
    if (payloads == NULL) return NULL;
    if (places(PyTuple_Size(payloads), &starts, &sizes) == 0) {
        if (collect(payloads, starts, sizes) == 0) out = read_all(spec, PyTuple_Size(payloads), starts, sizes, lines, seed);
        else free(starts), free(sizes);
    }
    Py_DECREF(payloads);
    return out;
}

/* Find the bytes of every message in a block; one without a value (size -1) is an empty one. */
static int collect_block(const Py_buffer *block, const Py_buffer *start, const Py_buffer *size, Bytes *starts, Py_ssize_t *sizes) {
    const int64_t *from = start->buf, *long_ = size->buf;
    for (Py_ssize_t i = 0; i < start->len / 8; i++) {
        sizes[i] = long_[i] < 0 ? 0 : (Py_ssize_t)long_[i];
        if (from[i] < 0 || from[i] > block->len || sizes[i] > block->len - from[i]) {
            PyErr_SetString(PyExc_ValueError, "a message lies outside of its block");
            return -1;
        }
        starts[i] = (Bytes)block->buf + from[i];
    }
    return 0;
}

static PyObject *read_block(PyObject *module, PyObject *arguments) {
    PyObject *spec, *out = NULL;
    Py_buffer block, start, size;
    unsigned long long seed;
    Bytes *starts;
    Py_ssize_t *sizes;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!y*y*y*K", &PyTuple_Type, &spec, &block, &start, &size, &seed)) return NULL;
    Py_ssize_t count = start.len / 8;
    if (start.len != size.len) PyErr_SetString(PyExc_ValueError, "as many starts as sizes");
    else if (places(count, &starts, &sizes) == 0) {
        if (collect_block(&block, &start, &size, starts, sizes) == 0) out = read_all(spec, count, starts, sizes, 0, seed);
        else free(starts), free(sizes);
    }
    PyBuffer_Release(&block), PyBuffer_Release(&start), PyBuffer_Release(&size);
    return out;
}

static PyMethodDef methods[] = {
    {"texts", texts, METH_VARARGS, "Give texts by their places in sources; see _native.pyi."},
    {"read", read_columns, METH_VARARGS, "Read payloads into columns; see _native.pyi."},
    {"read_block", read_block, METH_VARARGS, "Read messages of a block into columns; see _native.pyi."},
    {"line_ends", line_ends, METH_O, "Find the new lines of a block; see _native.pyi."},
    {0}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "_native", .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit__native(void) {
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    return c_locale == (locale_t)0 ? PyErr_NoMemory() : PyModule_Create(&definition);
}
