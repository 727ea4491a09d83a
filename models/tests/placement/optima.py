"""Optima of the problems that `write_the_programs` wrote, by HiGHS (scipy.optimize.milp); prints optima.csv.

python optima.py FOLDER [SECONDS] > optima.csv
"""
import json
import pathlib
import sys

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix


def solve(program, seconds):
    costs, one, load, mib = [], [], [], []
    for shard, choices in enumerate(program["shards"]):
        for cost, used in choices:
            x = len(costs)
            costs.append(cost)
            one.append((shard, x, 1.0))
            for node, requests, size in used:
                load.append((node, x, requests))
                mib.append((node, x, size))
    nodes = len(program["nodes"])
    target, most, room = (np.array(column) for column in zip(*program["nodes"]))
    binaries, total = len(costs), len(costs) + nodes

    def matrix(entries, rows):
        row, column, value = zip(*entries)
        return coo_matrix((value, (row, column)), shape=(rows, total)).tocsc()

    over = [(n, binaries + n, -1.0) for n in range(nodes)]
    shards = len(program["shards"])
    result = milp(
        np.array(costs + [program["overload_ms"]] * nodes),
        integrality=np.array([1] * binaries + [0] * nodes),
        bounds=Bounds(0, np.array([1.0] * binaries + [np.inf] * nodes)),
        constraints=[
            LinearConstraint(matrix(one, shards), 1, 1),
            LinearConstraint(matrix(load + over, nodes), -np.inf, target),
            LinearConstraint(matrix(load, nodes), -np.inf, most),
            LinearConstraint(matrix(mib, nodes), -np.inf, room),
        ],
        options={"time_limit": seconds, "mip_rel_gap": 1e-6},
    )
    return result.fun, result.mip_dual_bound


folder = pathlib.Path(sys.argv[1])
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
print("problem,best_ms_per_s,bound_ms_per_s")
for path in sorted(folder.glob("*.json")):
    best, bound = solve(json.loads(path.read_text()), seconds)
    best, bound = ("inf", "0") if best is None else (f"{best:.6f}", f"{bound:.6f}")
    print(f"{path.stem},{best},{bound}", flush=True)
