"""A computation graph walked in the order of a set of objects: their default hash is their address."""

import json


class Node:
    def __init__(self, name, value):
        self.name, self.value, self.inputs = name, value, set()

    def total(self):
        result = self.value
        for node in self.inputs:  # in the order of addresses
            result = result * 0.9 + node.total() * 0.1
        return result


leaves = [Node(f"leaf{i}", float(i) ** 1.5) for i in range(40)]
root = Node("root", 1.0)
for leaf in leaves:
    root.inputs.add(leaf)
visited = [node.name for node in root.inputs]
by_id = [node.name for node in sorted(leaves, key=lambda node: (id(node) >> 4) % 97)]
with open("graph.json", "w") as f:
    json.dump({"total": root.total(), "visited": visited, "by_id": by_id}, f)
print(f"{root} total {root.total():.12f}")
