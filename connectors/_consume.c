/* Native consumption: what librdkafka has fetched, as one block of bytes and a table, without a Python object a message.

It is the client that confluent-kafka made and configured: connections, logins, assignment, pauses and callbacks stay there.
Here the queues of its partitions are led into one of our own, which only messages and events of partitions come to; all
else, the callbacks above all, comes to the client's own queue still, which Python polls. So nothing here calls Python. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NAME "connectors._consume.queue"
#define KEPT (16 << 20) /* bytes */
#define COLUMNS 4 /* offset, timestamp, start, size */

/* rd_kafka_message_t of librdkafka's public interface */
typedef struct {
    int error;
    void *topic;
    int32_t partition;
    void *payload;
    size_t size;
    void *key;
    size_t key_size;
    int64_t offset;
    void *own;
} Message;

typedef struct { PyObject head; void *client; } Consumer; /* how confluent-kafka's Consumer begins; Python checks the version */

static struct {
    void *(*queue_new)(void *client);
    void *(*queue_get_partition)(void *client, const char *topic, int32_t partition);
    void (*queue_forward)(void *from, void *to);
    void (*queue_destroy)(void *queue);
    Py_ssize_t (*consume_batch_queue)(void *queue, int timeout_ms, Message **messages, size_t most);
    void (*message_destroy)(Message *message);
    int64_t (*message_timestamp)(const Message *message, int *kind);
    const char *(*message_errstr)(const Message *message);
    const char *(*topic_name)(const void *topic);
} kafka;

typedef struct { char *topic; int32_t partition; } Place;
typedef struct { PyObject *consumer, *block; void *client, *queue; Place *places; Py_ssize_t count; } Queue;

/* Find the functions in the library that `cimpl`, loaded already, was linked to: no other copy may touch its clients. */
static int find_functions(const char *cimpl) {
    static const struct { const char *name; void *at; } wanted[] = {
        {"rd_kafka_queue_new", &kafka.queue_new},
        {"rd_kafka_queue_get_partition", &kafka.queue_get_partition},
        {"rd_kafka_queue_forward", &kafka.queue_forward},
        {"rd_kafka_queue_destroy", &kafka.queue_destroy},
        {"rd_kafka_consume_batch_queue", &kafka.consume_batch_queue},
        {"rd_kafka_message_destroy", &kafka.message_destroy},
        {"rd_kafka_message_timestamp", &kafka.message_timestamp},
        {"rd_kafka_message_errstr", &kafka.message_errstr},
        {"rd_kafka_topic_name", &kafka.topic_name},
    };
    void *library = dlopen(cimpl, RTLD_LAZY | RTLD_NOLOAD);
    if (library == NULL) {
        PyErr_Format(PyExc_RuntimeError, "%s is not loaded", cimpl);
        return -1;
    }
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        void *found = dlsym(library, wanted[i].name);
        if (found == NULL) {
            PyErr_Format(PyExc_RuntimeError, "%s has no %s", cimpl, wanted[i].name);
            return -1; /* the handle is kept, as the library is by its importer */
        }
        memcpy(wanted[i].at, &found, sizeof(found));
    }
    return 0;
}

static void *client_of(PyObject *consumer) { return ((Consumer *)consumer)->client; }

static void let_go(Queue *q) {
    if (q->queue != NULL && client_of(q->consumer) == q->client) kafka.queue_destroy(q->queue);
    q->queue = NULL;
}

static void release(Queue *q) {
    let_go(q);
    for (Py_ssize_t i = 0; q->places != NULL && i < q->count; i++) free(q->places[i].topic);
    free(q->places);
    Py_XDECREF(q->block);
    Py_XDECREF(q->consumer);
    free(q);
}

static void forget(PyObject *capsule) {
    Queue *q = PyCapsule_GetPointer(capsule, NAME);
    if (q != NULL) release(q);
}

static int take_places(Queue *q, PyObject *places) {
    Py_ssize_t count = PyTuple_Size(places);
    if ((q->places = calloc((size_t)count + 1, sizeof(Place))) == NULL) return -1;
    for (q->count = 0; q->count < count; q->count++) {
        const char *topic;
        Place *place = &q->places[q->count];
        if (!PyArg_ParseTuple(PyTuple_GetItem(places, q->count), "si", &topic, &place->partition)) return -1;
        if ((place->topic = strdup(topic)) == NULL) return -1;
    }
    return 0;
}

static PyObject *open_queue(PyObject *module, PyObject *arguments) {
    PyObject *consumer, *places, *capsule;
    const char *cimpl;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "sOO!", &cimpl, &consumer, &PyTuple_Type, &places)) return NULL;
    if (find_functions(cimpl) < 0) return NULL;
    if (client_of(consumer) == NULL) return PyErr_SetString(PyExc_RuntimeError, "the consumer is closed"), NULL;
    Queue *q = calloc(1, sizeof(Queue));
    if (q == NULL) return PyErr_NoMemory();
    q->consumer = Py_NewRef(consumer);
    q->client = client_of(consumer);
    if (take_places(q, places) < 0 || (capsule = PyCapsule_New(q, NAME, forget)) == NULL) {
        release(q);
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    }
    q->queue = kafka.queue_new(q->client);
    for (Py_ssize_t i = 0; i < q->count; i++) {
        void *own = kafka.queue_get_partition(q->client, q->places[i].topic, q->places[i].partition);
        if (own == NULL) continue;
        kafka.queue_forward(own, q->queue); /* kept when the partition is assigned: what an application sets is */
        kafka.queue_destroy(own);
    }
    return capsule;
}

static PyObject *close_queue(PyObject *module, PyObject *capsule) {
    Queue *q = PyCapsule_GetPointer(capsule, NAME);
    (void)module;
    if (q == NULL) return NULL;
    let_go(q);
    Py_CLEAR(q->block);
    return Py_NewRef(Py_None);
}

static Py_ssize_t place_of(const Queue *q, const Message *m, Py_ssize_t last) {
    if (m->topic == NULL) return -1;
    const char *topic = kafka.topic_name(m->topic);
    for (Py_ssize_t i = 0; i <= q->count; i++) { /* most messages are of the partition of the one before */
        Py_ssize_t at = i == 0 ? last : i - 1;
        if (at >= 0 && q->places[at].partition == m->partition && strcmp(q->places[at].topic, topic) == 0) return at;
    }
    return -1;
}

/* Where the messages of each place begin, among all, in order of place; gives the bytes of all, -1 where one is of none. An
event has no place here. */
static Py_ssize_t sort(const Queue *q, Message **messages, Py_ssize_t count, Py_ssize_t *place, Py_ssize_t *first) {
    Py_ssize_t size = 0;
    for (Py_ssize_t i = 0, last = -1; i < count; i++) {
        place[i] = -1;
        if (messages[i]->error) continue;
        if ((place[i] = last = place_of(q, messages[i], last)) < 0) return -1;
        first[last + 1]++;
        size += (Py_ssize_t)messages[i]->size + 1;
    }
    for (Py_ssize_t p = 0; p < q->count; p++) first[p + 1] += first[p];
    return size;
}

/* Copy the messages, those of a place behind one another in their order, and let librdkafka have them back. */
static void copy(const Queue *q, Message **messages, const Py_ssize_t *place, const Py_ssize_t *first,
                 char *block, int64_t *table) {
    Py_ssize_t n = first[q->count];
    int64_t *offset = table, *stamp = table + n, *start = table + 2 * n, *size = table + 3 * n, at = 0;
    for (Py_ssize_t p = 0; p < q->count; p++) {
        if (first[p] == first[p + 1]) continue;
        for (Py_ssize_t i = 0, row = first[p]; row < first[p + 1]; i++) {
            if (place[i] != p) continue;
            int kind;
            Message *m = messages[i];
            offset[row] = m->offset;
            stamp[row] = kafka.message_timestamp(m, &kind);
            start[row] = at;
            size[row++] = m->payload == NULL ? -1 : (int64_t)m->size;
            if (m->payload == NULL) continue;
            memcpy(block + at, m->payload, m->size);
            at += (int64_t)m->size;
            block[at++] = '\n'; /* so that a line ends where its message does */
        }
    }
}

static PyObject *events_of(const Queue *q, Message **messages, Py_ssize_t count) {
    PyObject *events = PyList_New(0);
    for (Py_ssize_t i = 0; events != NULL && i < count; i++) {
        const Message *m = messages[i];
        if (!m->error) continue;
        PyObject *event = Py_BuildValue("(niLs)", place_of(q, m, -1), m->error, (long long)m->offset, kafka.message_errstr(m));
        if (event == NULL || PyList_Append(events, event) < 0) Py_CLEAR(events);
        Py_XDECREF(event);
    }
    return events;
}

static PyObject *counts_of(const Queue *q, const Py_ssize_t *first) {
    PyObject *counts = PyList_New(q->count);
    for (Py_ssize_t p = 0; counts != NULL && p < q->count; p++) {
        PyObject *each = PyLong_FromSsize_t(first[p + 1] - first[p]);
        if (each == NULL || PyList_SetItem(counts, p, each) < 0) Py_CLEAR(counts);
    }
    return counts;
}

/* Give bytes of at least this size to write to. Those of the read before are taken again once nobody else has them: fresh
memory of several MB costs the kernel as much time as copying into it. */
static PyObject *block_of(Queue *q, Py_ssize_t size) {
    if (size > KEPT) return PyBytes_FromStringAndSize(NULL, size);
    if (q->block == NULL || Py_REFCNT(q->block) > 1 || PyBytes_Size(q->block) < size) {
        Py_XDECREF(q->block);
        q->block = PyBytes_FromStringAndSize(NULL, size + size / 8);
    }
    return q->block == NULL ? NULL : Py_NewRef(q->block);
}

static PyObject *result(Queue *q, Message **messages, Py_ssize_t count, Py_ssize_t *place, Py_ssize_t *first) {
    Py_ssize_t size = sort(q, messages, count, place, first);
    if (size < 0) return PyErr_SetString(PyExc_RuntimeError, "a message of a partition that was not asked for"), NULL;
    PyObject *block = block_of(q, size);
    PyObject *table = PyByteArray_FromStringAndSize(NULL, first[q->count] * COLUMNS * (Py_ssize_t)sizeof(int64_t));
    PyObject *counts = counts_of(q, first), *events = events_of(q, messages, count);
    if (block == NULL || table == NULL || counts == NULL || events == NULL) {
        Py_XDECREF(block), Py_XDECREF(table), Py_XDECREF(counts), Py_XDECREF(events);
        return NULL;
    }
    char *bytes = PyBytes_AsString(block), *rows = PyByteArray_AsString(table);
    Py_BEGIN_ALLOW_THREADS
    copy(q, messages, place, first, bytes, (int64_t *)rows);
    Py_END_ALLOW_THREADS
    return Py_BuildValue("(NNNN)", block, counts, table, events);
}

static PyObject *consume(PyObject *module, PyObject *arguments) {
    PyObject *capsule, *out = NULL;
    Py_ssize_t most, count = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "On", &capsule, &most)) return NULL;
    Queue *q = PyCapsule_GetPointer(capsule, NAME);
    if (q == NULL) return NULL;
    if (q->queue == NULL || client_of(q->consumer) != q->client)
        return PyErr_SetString(PyExc_RuntimeError, "the consumer is closed"), NULL;
    Message **messages = calloc((size_t)most + 1, sizeof(Message *));
    Py_ssize_t *place = calloc((size_t)most + 1, sizeof(Py_ssize_t));
    Py_ssize_t *first = calloc((size_t)q->count + 2, sizeof(Py_ssize_t));
    if (messages == NULL || place == NULL || first == NULL) {
        PyErr_NoMemory();
    } else {
        Py_BEGIN_ALLOW_THREADS
        count = kafka.consume_batch_queue(q->queue, 0, messages, (size_t)most);
        Py_END_ALLOW_THREADS
        if (count > 0) out = result(q, messages, count, place, first);
        else if (count == 0) out = Py_NewRef(Py_None);
        else PyErr_SetString(PyExc_RuntimeError, "librdkafka gave no messages");
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < count; i++) kafka.message_destroy(messages[i]);
        Py_END_ALLOW_THREADS
    }
    free(messages), free(place), free(first);
    return out;
}

static PyMethodDef methods[] = {
    {"open", open_queue, METH_VARARGS, "Lead the queues of partitions into one; see _consume.pyi."},
    {"consume", consume, METH_VARARGS, "Take what is there; see _consume.pyi."},
    {"close", close_queue, METH_O, "Let go of the queue; see _consume.pyi."},
    {0}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "_consume", .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit__consume(void) { return PyModule_Create(&definition); }
