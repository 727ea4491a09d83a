#!/usr/bin/env python3
"""strace output -> Isobar trace. Arguments: strace file, data directory, how many accesses to keep.

A key is a page: relation files in path order, the blocks of one after the blocks of the one before.
Writes are those of any server process (a dirty page leaves the cache late: that is what the disk sees).
"""
import collections
import re
import sys

PAGE = 8192
CALL = re.compile(
    r"^\d+\s+(\d+\.\d+) p(read|write)64\(\d+<([^>]*)>,.*, (\d+), (\d+)\)\s+= (\d+)"
)


def accesses(path, root):
    """Yields (seconds, op, relation, block) of whole pages of relation files."""
    # strace splits a call when another process interrupts it: join the halves by process id.
    pending = {}
    for line in open(path, errors="replace"):
        pid = line.split(None, 1)[0]
        if line.rstrip().endswith("<unfinished ...>"):
            pending[pid] = line.rstrip()[: -len("<unfinished ...>")].rstrip()
            continue
        if "resumed>" in line:
            line = pending.pop(pid, "") + re.sub(r"^.*resumed>", "", line)
        found = CALL.match(line)
        if not found:
            continue
        at, op, name, size, offset, done = found.groups()
        name = name.removesuffix(" (deleted)")
        if not name.startswith((root + "/base/", root + "/global/")):
            continue
        if int(size) != PAGE or int(done) != PAGE or int(offset) % PAGE:
            continue
        yield float(at), op[0], name[len(root) + 1 :], int(offset) // PAGE


def in_order(relation):
    return [(int(p), "") if p.isdigit() else (0, p) for p in re.split(r"(\d+)", relation)]


def lru_ratio(keys, size):
    cache, hits = collections.OrderedDict(), 0
    for key in keys:
        if key in cache:
            hits += 1
            cache.move_to_end(key)
        else:
            cache[key] = None
            if len(cache) > size:
                cache.popitem(last=False)
    return 100 * hits / len(keys)


def main():
    seen = sorted(accesses(sys.argv[1], sys.argv[2]))  # by time: threads are interleaved in the file
    kept = seen[: int(sys.argv[3])]
    blocks = collections.Counter()
    for _, _, relation, block in seen:
        blocks[relation] = max(blocks[relation], block + 1)
    base, start = 0, {}
    for relation in sorted(blocks, key=in_order):
        start[relation] = base
        base += blocks[relation]
    print("isobar-trace 1 size=%d" % PAGE)
    before = kept[0][0]
    keys = []
    for at, op, relation, block in kept:
        wait_ms = int(at * 1000) - int(before * 1000)
        before = at
        keys.append(start[relation] + block)
        print(wait_ms, op, keys[-1])
    distinct = len(set(keys))
    writes = sum(op == "w" for _, op, _, _ in kept)
    print(
        "seen %d, kept %d over %.1f s, writes %d, keys %d of %d pages in %d relations"
        % (len(seen), len(kept), kept[-1][0] - kept[0][0], writes, distinct, base, len(blocks)),
        file=sys.stderr,
    )
    for share in (0.02, 0.10):
        print("LRU %.0f %%: %.2f" % (100 * share, lru_ratio(keys, int(distinct * share))), file=sys.stderr)
    for relation, count in collections.Counter(r for _, _, r, _ in kept).most_common(8):
        print("  %8d %s (%d pages from %d)" % (count, relation, blocks[relation], start[relation]), file=sys.stderr)


main()
