"""Boredom for one user, in plain Python: our generalisation, and SARDINE's own bookkeeping apart from it.

A user of ours is a dict of `interest` (list), `clicks` (for each step so far, the list of the clicked items' topics)
and `boring` (for each topic, the last step at which it is boring, -1 for none); an item one of `embedding` (list),
`topic` and `length`; parameters are a dict by their names in the configuration. Step t is the length of `clicks`.
"""

import math


def dot(a, b):
    """Inner product."""
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def unit(vector):
    """The vector's direction, or None for one too short to have a sure direction."""
    norm = math.sqrt(dot(vector, vector))
    return None if norm < 1e-6 else [x / norm for x in vector]


def boring_topics(user):
    """The topics that are boring at the present step."""
    return [topic for topic, last in user["boring"].items() if last >= len(user["clicks"])]


def utility(user, item, parameters):
    """s = affinity_weight u.v - boredom_penalty [topic boring] - weariness (number of boring topics)."""
    boring = boring_topics(user)
    loss = parameters["weariness"] * len(boring) + parameters["boredom_penalty"] * (item["topic"] in boring)
    return parameters["affinity_weight"] * dot(user["interest"], item["embedding"]) - loss


def respond(user, clicked, parameters):
    """Return the user after a step, and for each clicked item its benefit and its wanted minutes.

    Where the new interest has no sure direction it is None.
    """
    step = len(user["clicks"])
    benefits = [max(-1.0, min(1.0, dot(user["interest"], item["embedding"]))) for item in clicked]
    minutes = [item["length"] * (1.0 + x) / 2.0 for item, x in zip(clicked, benefits, strict=True)]
    clicks = [*user["clicks"], [item["topic"] for item in clicked]]
    boring = dict(user["boring"])
    recent = [topic for topics in clicks[-parameters["boredom_window"] :] for topic in topics]
    for topic in set(recent):
        # While it is boring, and until its last boring step is over, it is not looked at.
        if boring.get(topic, -1) <= step and recent.count(topic) >= parameters["boredom_threshold"]:
            boring[topic] = step + parameters["boredom_steps"]
    interest = user["interest"]
    if clicked:
        w = parameters["influence"]
        mean = [math.fsum(column) / len(clicked) for column in zip(*(i["embedding"] for i in clicked), strict=True)]
        interest = unit([(1.0 - w) * u + w * v for u, v in zip(interest, mean, strict=True)])
    return {"interest": interest, "clicks": clicks, "boring": boring}, benefits, minutes


class SardineUser:
    """SARDINE's simulator (sardine-rec 1.0.8) for its own constants, with its two slips mended.

    The slips: `_clicked_item_influence` takes the mean over items *and* coordinates, and `recent_items_maxlen` forgets
    clicks that are still in the window. `boredom_type` is "user_tloi" or "user_car".
    """

    def __init__(self, interest, num_topics, boredom_type):
        self.user_embedd = list(interest)
        self.cur_user_embedd = list(interest)
        self.boredom_type = boredom_type
        self.num_topics = num_topics
        self.t = 0
        self.clicked = []  # (step, topic)
        self.bored = [False] * num_topics
        self.bored_timeout = [5] * num_topics

    def click_probabilities(self, slate):
        """Position-based: 0.85^k sigmoid(100 (s - 0.65)); an item is a pair of embedding and topic."""
        scores = [dot(embedding, self.cur_user_embedd) for embedding, _ in slate]
        return [0.85**k / (1.0 + math.exp(-(s - 0.65) * 100.0)) for k, s in enumerate(scores)]

    def step(self, clicked):
        """Move on after a slate, of which these items were clicked."""
        self.clicked += [(self.t, topic) for _, topic in clicked]
        self.t += 1
        self.clicked = [(step, topic) for step, topic in self.clicked if step >= self.t - 5]
        for topic in range(self.num_topics):
            self.bored_timeout[topic] -= self.bored[topic]
            self.bored[topic] = self.bored[topic] and self.bored_timeout[topic] != 0
            if not self.bored[topic]:
                self.bored_timeout[topic] = 5
            if [t for _, t in self.clicked].count(topic) >= 5:
                self.bored[topic] = True
        if clicked:
            mean = [math.fsum(column) / len(clicked) for column in zip(*(e for e, _ in clicked), strict=True)]
            moved = [0.95 * u + (1 - 0.95) * v for u, v in zip(self.user_embedd, mean, strict=True)]
            self.user_embedd = [x / math.sqrt(dot(moved, moved)) for x in moved]
        self.cur_user_embedd = list(self.user_embedd)
        for topic in range(self.num_topics):
            if self.bored[topic] and self.boredom_type == "user_tloi":
                self.cur_user_embedd[topic] = 0.0
        if any(self.bored) and self.boredom_type == "user_car":
            self.cur_user_embedd = [0.0] * len(self.user_embedd)
