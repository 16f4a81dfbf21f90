"""Shown items arranged into sessions and slates, entry by entry; plain Python only."""


def sessions_of(entries, gap):
    """Group entries into sessions of steps.

    An entry is a dict with `user`, and perhaps `session`, `step`, `position`, `time` (None where the log has none);
    `index` is its place in the file. Returns sessions in order, each `(user, cut_off, steps)`, a step being the list of
    its entries' indices in the order of the slate.
    """

    begins = {}
    for entry in entries:
        if entry["session"] is not None and entry["time"] is not None:
            name = entry["user"], entry["session"]
            begins[name] = min(begins.get(name, entry["time"]), entry["time"])

    def key(entry):
        begin = begins.get((entry["user"], entry["session"]))
        order = [entry["user"], begin, entry["session"], entry["step"], entry["time"]]
        if entry["step"] is not None:
            order.append(entry["position"])
        return [value for value in order if value is not None] + [entry["index"]]

    log_end = max((entry["time"] for entry in entries if entry["time"] is not None), default=None)
    sessions, last = [], {}
    for entry in sorted(entries, key=key):
        new_session = not last or entry["user"] != last["user"] or entry["session"] != last["session"]
        if not new_session and entry["session"] is None and entry["time"] is not None:
            new_session = entry["time"] - last["time"] > gap
        if new_session:
            sessions.append([entry["user"], False, []])
        if new_session or entry["step"] is None or entry["step"] != last["step"]:
            sessions[-1][2].append([])
        sessions[-1][2][-1].append(entry["index"])
        if entry["session"] is None and entry["time"] is not None:
            sessions[-1][1] = log_end - entry["time"] <= gap
        last = entry
    return [tuple(session) for session in sessions]


def slate_of(items, size):
    """Repeat the last item up to the slate's size; return the items and which of them are shown."""
    return items + [items[-1]] * (size - len(items)), [True] * len(items) + [False] * (size - len(items))
