/* Scanning JSON (RFC 8259) and reading single values, as decoder.py's rules want them. Nothing here allocates.

A scan gives what stands behind the value, or NULL where it is not plain JSON. A value that only Python may judge sets
`elsewhere`. */

#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define NO_TIME INT64_MIN
#define DEPTH 64       /* bits of the stack of open brackets */
#define LONGEST_INT 20 /* characters of an integer inside a string, with its sign; longer ones are absent */

typedef const unsigned char *Bytes;

enum { NOT_ASCII = 1, ESCAPED = 2 };
enum { STRING, WHOLE, FRACTION, TRUE_, FALSE_, NULL_, NESTED };

typedef struct { int type, marks; Bytes at, end; } Value; /* `at` and `end` without a string's quotes */

static locale_t c_locale; /* set once, when the module is loaded */

static Bytes space(Bytes p, Bytes end) { /* a newline inside a record is left to Python */
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r')) p++;
    return p;
}

static int is_digit(unsigned char c) { return c >= '0' && c <= '9'; }

static int hex_of(unsigned char c) {
    if (is_digit(c)) return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static Bytes escape_end(Bytes p, Bytes end) {
    if (end - p < 2) return NULL;
    if (p[1] != 'u') return memchr("\"\\/bfnrt", p[1], 8) ? p + 2 : NULL;
    if (end - p < 6) return NULL;
    for (int i = 2; i < 6; i++)
        if (hex_of(p[i]) < 0) return NULL;
    return p + 6;
}

/* Give the closing quote of a string that opened before `p`. */
static Bytes string_end(Bytes p, Bytes end, int *marks) {
    for (;;) {
#ifdef __SSE2__
        const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), control = _mm_set1_epi8(0x1f);
        while (end - p >= 16) {
            __m128i x = _mm_loadu_si128((const __m128i *)p);
            __m128i low = _mm_cmpeq_epi8(_mm_max_epu8(x, control), control);
            unsigned high = (unsigned)_mm_movemask_epi8(x);
            unsigned stop = (unsigned)_mm_movemask_epi8(
                _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, slash)), low));
            if (stop) {
                unsigned before = (unsigned)__builtin_ctz(stop);
                if (high & ((1u << before) - 1)) *marks |= NOT_ASCII;
                p += before;
                break;
            }
            if (high) *marks |= NOT_ASCII;
            p += 16;
        }
#endif
        for (; p < end && *p != '"' && *p != '\\' && *p >= 0x20; p++)
            if (*p & 0x80) *marks |= NOT_ASCII;
        if (p >= end || *p < 0x20) return NULL;
        if (*p == '"') return p;
        *marks |= ESCAPED;
        p = escape_end(p, end);
        if (p == NULL) return NULL;
    }
}

static Bytes number_end(Bytes p, Bytes end, int *type) {
    *type = WHOLE;
    if (p < end && *p == '-') p++;
    if (p >= end || !is_digit(*p)) return NULL;
    if (*p++ != '0')
        while (p < end && is_digit(*p)) p++;
    if (p < end && *p == '.') {
        *type = FRACTION;
        if (++p >= end || !is_digit(*p)) return NULL;
        while (p < end && is_digit(*p)) p++;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        *type = FRACTION;
        if (++p < end && (*p == '+' || *p == '-')) p++;
        if (p >= end || !is_digit(*p)) return NULL;
        while (p < end && is_digit(*p)) p++;
    }
    return p;
}

static Bytes literal(Bytes p, Bytes end, const char *word, size_t size) {
    return (size_t)(end - p) >= size && memcmp(p, word, size) == 0 ? p + size : NULL;
}

static Bytes scalar(Bytes p, Bytes end, Value *value) {
    if (p >= end) return NULL;
    value->marks = 0;
    value->at = p;
    switch (*p) {
    case '"':
        value->type = STRING;
        value->at = p + 1;
        value->end = string_end(p + 1, end, &value->marks);
        return value->end == NULL ? NULL : value->end + 1;
    case 't': value->type = TRUE_; return literal(p, end, "true", 4);
    case 'f': value->type = FALSE_; return literal(p, end, "false", 5);
    case 'n': value->type = NULL_; return literal(p, end, "null", 4);
    default: return value->end = number_end(p, end, &value->type);
    }
}

/* Give the value of a member whose name starts at `p`. */
static Bytes member(Bytes p, Bytes end) {
    int marks = 0;
    p = space(p, end);
    if (p >= end || *p != '"' || (p = string_end(p + 1, end, &marks)) == NULL) return NULL;
    p = space(p + 1, end);
    return p < end && *p == ':' ? p + 1 : NULL;
}

static Bytes nested(Bytes p, Bytes end) {
    uint64_t objects = 0; /* the lowest bit: what was opened last is an object */
    int depth = 0;
    Value ignored;
    for (;;) {
        p = space(p, end);
        if (p >= end) return NULL;
        if (*p == '{' || *p == '[') {
            if (depth++ == DEPTH) return NULL;
            objects = objects << 1 | (*p == '{');
            p = space(p + 1, end);
            if (p >= end || *p != (objects & 1 ? '}' : ']')) {
                if ((objects & 1) && (p = member(p, end)) == NULL) return NULL;
                continue;
            }
        } else if ((p = scalar(p, end, &ignored)) == NULL) {
            return NULL;
        }
        for (p = space(p, end); p < end && *p == (objects & 1 ? '}' : ']'); p = space(p, end)) {
            p++;
            objects >>= 1;
            if (--depth == 0) return p;
        }
        if (p >= end || *p++ != ',') return NULL;
        if ((objects & 1) && (p = member(p, end)) == NULL) return NULL;
    }
}

static Bytes any_value(Bytes p, Bytes end, Value *value) {
    if (p < end && (*p == '{' || *p == '[')) {
        value->type = NESTED;
        value->at = p;
        return value->end = nested(p, end);
    }
    return scalar(p, end, value);
}

/* ---- values ---- */

/* Give an integer; 0 where it lies outside int64. Digits only, after an optional sign. */
static int integer(Bytes p, Bytes end, int64_t *out) {
    int negative = *p == '-';
    uint64_t value = 0;
    p += negative;
    while (p < end - 1 && *p == '0') p++;
    if (end - p > 19) return 0;
    for (; p < end; p++) value = value * 10 + (uint64_t)(*p - '0');
    if (value > (uint64_t)INT64_MAX + (uint64_t)negative) return 0;
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return 1;
}

/* Give a number with a point or an exponent, correctly rounded; a non-digit stands at its end. */
static double fraction(Bytes p, Bytes end) {
    static const double powers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    uint64_t digits = 0;
    int count = 0, behind = 0;
    Bytes q = p + (*p == '-');
    for (; q < end && count < 16; q++) {
        if (*q == '.') { behind = 1; continue; }
        if (!is_digit(*q)) break;
        digits = digits * 10 + (uint64_t)(*q - '0');
        count++;
        behind += behind > 0;
    }
    /* Both are exact in a double, so that one division rounds once (Clinger 1990). */
    if (q == end && digits < (1ull << 53)) {
        double value = (double)digits / powers[behind > 0 ? behind - 1 : 0];
        return *p == '-' ? -value : value;
    }
    return strtod_l((const char *)p, NULL, c_locale);
}

static double number_of(const Value *v, int *elsewhere) {
    int64_t whole;
    double value = NAN;
    if (v->type == WHOLE) {
        if (integer(v->at, v->end, &whole)) value = (double)whole;
    } else if (v->type == FRACTION) {
        value = fraction(v->at, v->end);
    } else if (v->type == STRING && v->marks & ESCAPED) {
        *elsewhere = 1;
    } else if (v->type == STRING) { /* a string of digits, perhaps with a point and more digits */
        Bytes p = v->at + (v->at < v->end && *v->at == '-'), first = p;
        while (p < v->end && is_digit(*p)) p++;
        if (p == first) return NAN;
        if (p == v->end) {
            if (v->end - v->at <= LONGEST_INT && integer(v->at, v->end, &whole)) value = (double)whole;
        } else if (*p == '.' && ++p < v->end) {
            while (p < v->end && is_digit(*p)) p++;
            if (p == v->end) value = fraction(v->at, v->end);
        }
    }
    return isfinite(value) ? value + 0.0 : NAN; /* -0.0 is 0.0 */
}

/* Give milliseconds; the unit is told by magnitude, as event_time.py does. */
static int64_t scaled(int64_t raw) {
    if (raw <= 0) return NO_TIME;
    if (raw < 100000000000) return raw * 1000;
    if (raw < 100000000000000) return raw;
    return raw < 100000000000000000 ? raw / 1000 : raw / 1000000;
}

static int two(Bytes p) { return (p[0] - '0') * 10 + p[1] - '0'; }

/* Give the time of YYYY-MM-DDThh:mm:ss[.digits]Z; every other form is left to Python. */
static int64_t rfc3339(Bytes p, Bytes end, int *elsewhere) {
    static const char shape[] = "0000-00-00T00:00:00", days[] = {0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t rest = 0, scale = 100;
    *elsewhere |= end - p < 20 || end[-1] != 'Z';
    for (int i = 0; !*elsewhere && i < 19; i++) *elsewhere = shape[i] == '0' ? !is_digit(p[i]) : p[i] != shape[i];
    if (*elsewhere) return NO_TIME;
    for (Bytes q = p + 20; q < end - 1; q++, scale /= 10) {
        *elsewhere |= !is_digit(*q);
        rest += (*q - '0') * scale;
    }
    *elsewhere |= end - p > 20 && (p[19] != '.' || end - p == 21);
    int64_t year = two(p) * 100 + two(p + 2);
    int month = two(p + 5), day = two(p + 8), hour = two(p + 11), minute = two(p + 14), second = two(p + 17);
    int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (*elsewhere || year < 1 || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59)
        return NO_TIME;
    if (day > days[month] - (month == 2 && !leap)) return NO_TIME;
    year -= month <= 2; /* years from March, so that leap days come last */
    int64_t era = year / 400, of_era = year % 400, of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    int64_t days_since = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
    return (days_since * 86400 + hour * 3600 + minute * 60 + second) * 1000 + rest;
}

static int64_t time_of(const Value *v, int *elsewhere) {
    int64_t raw;
    if (v->type == WHOLE) return integer(v->at, v->end, &raw) ? scaled(raw) : NO_TIME;
    if (v->type == FRACTION) *elsewhere = 1;
    if (v->type != STRING) return NO_TIME;
    Bytes p = v->at;
    while (p < v->end && is_digit(*p)) p++;
    if (p < v->end || p == v->at) return rfc3339(v->at, v->end, elsewhere);
    return p - v->at <= 19 && integer(v->at, v->end, &raw) ? scaled(raw) : NO_TIME;
}

static int is_utf8(Bytes p, Bytes end) {
    while (p < end) {
        if (*p < 0x80) { p++; continue; }
        int more = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : 1;
        if (*p < 0xc2 || *p > 0xf4 || end - p <= more) return 0;
        if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) || (*p == 0xf0 && p[1] < 0x90) ||
            (*p == 0xf4 && p[1] > 0x8f))
            return 0; /* too long a form, a surrogate, or beyond Unicode */
        for (int i = 1; i <= more; i++)
            if ((p[i] & 0xc0) != 0x80) return 0;
        p += more + 1;
    }
    return 1;
}
