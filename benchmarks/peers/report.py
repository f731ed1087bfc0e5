"""What `benchmarks.peers` prints: a JSON line a contender and series, and the same as a table to read."""

import statistics

RATIOS = {  # a rate -> what the ratio of edgewatch's to it is called
    "records_per_second_after_start": "after_start",
    "records_per_cpu_second": "per_cpu_second",
    "records_per_cpu_second_after_start": "per_cpu_second_after_start",
}


def line(series, contender, taken, facts):
    """Make the line of a contender: `taken` are its runs, `facts` what is known besides (records, start_s, version)."""
    records, start_s, start_cpu_s = facts["records"], facts["start_s"], facts["start_cpu_s"]
    seconds = statistics.median(each.seconds for each in taken)
    cpu_s = statistics.median(each.cpu_s for each in taken)
    return {
        "benchmark": "peers",
        "series": series,
        "contender": contender.name,
        "version": facts["version"],
        "settings": contender.settings,
        "p99": contender.p99,
        "p99_error": round(facts["p99_error"], 9),
        "records": records,
        "scaled": facts["scaled"],
        "runs": len(taken),
        "seconds": round(seconds, 3),
        "all_seconds": [each.seconds for each in taken],
        "start_s": round(start_s, 3),
        "records_per_second": round(records / seconds),
        "records_per_second_after_start": after_start(records, seconds, start_s),
        "cpu_s": round(cpu_s, 3),
        "start_cpu_s": round(start_cpu_s, 3),
        "records_per_cpu_second": round(records / cpu_s),
        "records_per_cpu_second_after_start": after_start(records, cpu_s, start_cpu_s),
        "peak_mb": round(max(each.peak_mb for each in taken)),
        "equal": True,
    }


def after_start(records, seconds, start_s):
    """Give the rate with the start-up taken off, or None where start-up is (nearly) all there is."""
    return round(records / (seconds - start_s)) if seconds - start_s > 0.1 * seconds else None


def compared(lines, first="edgewatch"):
    """Add to each line how many times as fast the first contender of its series is, in pairs of runs side by side."""
    own = {each["series"]: each for each in lines if each.get("contender") == first and "seconds" in each}
    for each in lines:
        ours = own.get(each.get("series"))
        if ours is None or "seconds" not in each:
            continue
        pairs = zip(each["all_seconds"], ours["all_seconds"], strict=False)
        size = ours["records"] / each["records"]
        each["edgewatch_times_as_fast"] = round(statistics.median(theirs / our for theirs, our in pairs) * size, 2)
        for key, short in RATIOS.items():
            each[short] = round(ours[key] / each[key], 2) if ours[key] and each[key] else None
    return lines


def table(lines):
    """Give the table of all lines, in Markdown."""
    rates = ("after start-up", "per CPU s", "after start-up")
    head = ("contender", "records", "seconds", "start-up, s", "records/s", *rates, "peak, MB", "edgewatch is", *rates)
    out = []
    for series in dict.fromkeys(each["series"] for each in lines):
        out += [f"\n{series}", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for each in (found for found in lines if found["series"] == series):
            name = f"{each['contender']} {each.get('version') or ''}".strip()
            if "seconds" not in each:
                what = next(kind for kind in ("missing", "failed", "wrong") if kind in each)
                out.append(f"| {name} | {what}: {each[what].splitlines()[-1][:200]} |")
                continue
            mark = "*" if each["scaled"] else ""
            keys = ("seconds", "start_s", "records_per_second", *RATIOS, "peak_mb")
            cells = [name, f"{each['records']}{mark}", *(each[key] for key in keys)]
            cells += [_times(each.get(key)) for key in ("edgewatch_times_as_fast", *RATIOS.values())]
            out.append("| " + " | ".join("-" if cell is None else str(cell) for cell in cells) + " |")
    if about := {f"{each['contender']}: p99 {each['p99']}" for each in lines if each.get("p99", "exact") != "exact"}:
        out.append("\n" + "\n".join(sorted(about)) + ". All others compute it exactly.")
    if any(each.get("scaled") for each in lines):
        out.append("\n* ran with fewer records, as it is slow; rates are of those.")
    return "\n".join(out)


def _times(ratio):
    return None if ratio is None else f"{ratio} times"
