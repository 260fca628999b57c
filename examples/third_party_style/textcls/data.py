"""Sentences made of templates."""

import random

POSITIVE = ["great", "lovely", "superb", "fine"]
NEGATIVE = ["awful", "boring", "bad", "weak"]
TEMPLATES = ["the film was {}", "a {} plot", "what a {} cast", "truly {} music"]


def sentences(count):
    for _ in range(count):
        label = random.randint(0, 1)
        yield random.choice(TEMPLATES).format(random.choice((NEGATIVE, POSITIVE)[label])), label
