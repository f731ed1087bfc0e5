/* Texts in blocks of bytes: where lines end, and texts by where they lie. */

static PyObject *array(const void *block, int64_t count, size_t size) {
    return PyByteArray_FromStringAndSize(block, (Py_ssize_t)(count * (int64_t)size));
}

/* Where lines end: the search of the C library is several times as fast as comparing every byte. */
static PyObject *line_ends(PyObject *module, PyObject *lines) {
    char *begin;
    Py_ssize_t size, count = 0, room = 0;
    int64_t *ends = NULL;
    (void)module;
    if (PyBytes_AsStringAndSize(lines, &begin, &size) < 0) return NULL;
    for (const char *p = begin; (p = memchr(p, '\n', (size_t)(begin + size - p))) != NULL; p++) {
        if (count == room) {
            int64_t *more = realloc(ends, (size_t)(room = room * 2 + 4096) * sizeof(int64_t));
            if (more == NULL) return free(ends), PyErr_NoMemory();
            ends = more;
        }
        ends[count++] = p - begin;
    }
    PyObject *out = array(ends, count, sizeof(int64_t));
    free(ends);
    return out;
}

static PyObject *text_at(PyObject *sources, int32_t source, int64_t start, int32_t size) {
    char *begin;
    Py_ssize_t length;
    if (size < 0) return Py_NewRef(Py_None);
    PyObject *bytes = PyList_GetItem(sources, source);
    if (bytes == NULL || PyBytes_AsStringAndSize(bytes, &begin, &length) < 0) return NULL;
    if (start < 0 || start > length - size) return PyErr_SetString(PyExc_IndexError, "a text lies outside its source"), NULL;
    return PyUnicode_DecodeUTF8(begin + start, size, "strict");
}

/* Texts by where they lie in sources: among many keys a batch shows thousands of records, each by its identity. */
static PyObject *texts(PyObject *module, PyObject *arguments) {
    PyObject *sources, *out = NULL;
    Py_buffer source, start, size;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!y*y*y*", &PyList_Type, &sources, &source, &start, &size)) return NULL;
    Py_ssize_t count = size.len / (Py_ssize_t)sizeof(int32_t);
    if (source.len != size.len || start.len != size.len * 2)
        PyErr_SetString(PyExc_ValueError, "columns are of different lengths");
    else
        out = PyList_New(count);
    for (Py_ssize_t i = 0; out != NULL && i < count; i++) {
        PyObject *text = text_at(sources, ((int32_t *)source.buf)[i], ((int64_t *)start.buf)[i], ((int32_t *)size.buf)[i]);
        if (text == NULL || PyList_SetItem(out, i, text) < 0) Py_CLEAR(out);
    }
    PyBuffer_Release(&source), PyBuffer_Release(&start), PyBuffer_Release(&size);
    return out;
}
