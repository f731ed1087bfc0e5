/* Lasting texts: the short strings that columns have held lately, each as one Python object and with a number that stays.

Of ten thousand keys every batch shows thousands, mostly those of the batch before: making a string of each again, and looking
it up in tables of Python's, took a fifth of a record's time. All of it happens under the interpreter's lock. */

#define LASTING 131072 /* so many are kept; then all are forgotten, and those that come are numbered anew */
#define LASTING_SIZE 128 /* bytes; longer ones are hardly keys */

static struct {
    PyObject **texts;
    uint64_t *hashes, mask;
    int64_t generation; /* numbers of one generation only are the same strings */
    int32_t count, room, *slots;
} lasting;

static void forget_lasting(void) {
    for (int32_t n = 0; n < lasting.count; n++) Py_DECREF(lasting.texts[n]);
    free(lasting.texts), free(lasting.hashes), free(lasting.slots);
    lasting.texts = NULL, lasting.hashes = NULL, lasting.slots = NULL;
    lasting.count = lasting.room = 0;
    lasting.generation++;
}

static int widen_lasting(void) {
    int32_t room = lasting.room ? lasting.room * 2 : 1024;
    uint64_t size = (uint64_t)room * 2, mask = size - 1;
    PyObject **texts = realloc(lasting.texts, (size_t)room * sizeof(PyObject *));
    if (texts != NULL) lasting.texts = texts;
    uint64_t *hashes = realloc(lasting.hashes, (size_t)room * sizeof(uint64_t));
    if (hashes != NULL) lasting.hashes = hashes;
    int32_t *slots = malloc(size * sizeof(int32_t));
    if (texts == NULL || hashes == NULL || slots == NULL) return free(slots), -1;
    memset(slots, 0xff, size * sizeof(int32_t));
    for (int32_t n = 0; n < lasting.count; n++) {
        uint64_t place = hashes[n] & mask;
        while (slots[place] >= 0) place = (place + 1) & mask;
        slots[place] = n;
    }
    free(lasting.slots);
    lasting.slots = slots, lasting.mask = mask, lasting.room = room;
    return 0;
}

/* Give a string by its UTF-8 and the hash of that, and its number, -1 where it has none; a new reference, NULL with an error. */
static PyObject *lasting_text(const char *at, Py_ssize_t size, uint64_t hash, int32_t *number) {
    *number = -1;
    if (size > LASTING_SIZE) return PyUnicode_DecodeUTF8(at, size, "strict");
    if (lasting.count == lasting.room && widen_lasting() < 0) return PyErr_NoMemory();
    uint64_t place = hash & lasting.mask;
    for (int32_t n; (n = lasting.slots[place]) >= 0; place = (place + 1) & lasting.mask) {
        Py_ssize_t length;
        if (lasting.hashes[n] != hash) continue;
        const char *known = PyUnicode_AsUTF8AndSize(lasting.texts[n], &length);
        if (known == NULL) return NULL;
        if (length == size && memcmp(known, at, (size_t)size) == 0) return *number = n, Py_NewRef(lasting.texts[n]);
    }
    PyObject *text = PyUnicode_DecodeUTF8(at, size, "strict");
    if (text == NULL) return NULL;
    lasting.hashes[lasting.count] = hash;
    lasting.texts[lasting.count] = Py_NewRef(text);
    lasting.slots[place] = *number = lasting.count++;
    return text;
}
