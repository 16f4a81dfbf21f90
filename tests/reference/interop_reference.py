"""Shown items arranged into sessions and slates, entry by entry; plain Python only."""


def sessions_of(entries, gap):
    """Group entries into sessions of steps.

    An entry is a dict with `user`, and perhaps `session`, `step`, `position`, `time` (None where the log has none);
    `index` is its place in the file; where `named` is true, `step` is no number but a name. Returns sessions in order,
    each `(user, cut_off, steps)`, a step being the list of its entries' indices in the order of the slate.
    """
    timed = entries[0]["time"] is not None
    visits = {}
    if entries[0]["session"] is None and timed:
        numbered = entries[0]["step"] is not None and not entries[0].get("named")
        last, visit, left = None, 0, set()

        def by_time(entry):
            return entry["user"], entry["time"], entry["step"] if numbered else 0, entry["index"]

        for entry in sorted(entries, key=by_time):
            if last is not None:
                if entry["step"] != last["step"]:
                    left.add(last["step"])
                gone = entry["user"] != last["user"] or entry["time"] - last["time"] > gap
                if gone or (numbered and entry["step"] in left):
                    visit, left = visit + 1, set()
            visits[entry["index"]], last = visit, entry

    def session(entry):
        return entry["user"], visits.get(entry["index"], entry["session"])

    def begin(group):
        times = [entry["time"] for entry in entries if timed and group(entry)]
        return min(times, default=0)

    def step_order(entry):
        def same(other):
            return session(other) == session(entry) and other["step"] == entry["step"]

        if entry["step"] is None:
            return ()
        if not entry.get("named"):
            return (entry["step"],)
        return begin(same), min(other["index"] for other in entries if same(other))

    def key(entry):
        place = entry["time"] if entry["step"] is None or entry["position"] is None else entry["position"]
        return (
            entry["user"],
            begin(lambda other: session(other) == session(entry)),
            session(entry)[1] or 0,
            step_order(entry),
            place or 0,
            entry["index"],
        )

    sessions, last = [], None
    for entry in sorted(entries, key=key):
        if last is None or session(entry) != session(last):
            sessions.append([entry["user"], False, []])
            last = None
        if last is None or entry["step"] is None or entry["step"] != last["step"]:
            sessions[-1][2].append([])
        sessions[-1][2][-1].append(entry["index"])
        last = entry
    if visits:
        log_end = max(entry["time"] for entry in entries)
        when = {entry["index"]: entry["time"] for entry in entries}
        for each in sessions:
            each[1] = log_end - max(when[index] for step in each[2] for index in step) <= gap
    return [tuple(each) for each in sessions]


def slate_of(items, slots, size):
    """Put items into their slots of a slate, each empty slot repeating the item before, or else the first.

    Returns the items, and which slots are shown.
    """
    slate, shown = [], []
    held = dict(zip(slots, items, strict=True))
    for slot in range(size):
        shown.append(slot in held)
        slate.append(held.get(slot, slate[-1] if slate else items[0]))
    return slate, shown
