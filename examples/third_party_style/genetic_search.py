"""A genetic algorithm with the `random` module alone."""

import csv
import math
import random


def fitness(genes):
    return -sum(g * g - 10 * math.cos(2 * math.pi * g) + 10 for g in genes)


population = [[random.uniform(-5, 5) for _ in range(6)] for _ in range(40)]
history = []
for generation in range(30):
    population.sort(key=fitness, reverse=True)
    history.append((generation, fitness(population[0])))
    parents = population[:10]
    children = []
    while len(children) < 30:
        mother, father = random.sample(parents, 2)
        cut = random.randrange(1, 6)
        child = mother[:cut] + father[cut:]
        if random.random() < 0.3:
            child[random.randrange(6)] += random.gauss(0, 0.5)
        children.append(child)
    population = parents + children
with open("history.csv", "w", newline="") as f:
    csv.writer(f).writerows([("generation", "best"), *history])
print("best", [round(g, 4) for g in population[0]], round(history[-1][1], 4))
