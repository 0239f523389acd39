"""Run a sweep, or a shard of it, and count the verdicts.

Usage: python -m tests.sweeps versions|types|sizes [--shard I/N] [--only OPERATOR ...] [--list]
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from tests.sweeps.judge import Verdict, judge
from tests.sweeps.sweeps import SWEEPS, shard


def main() -> int:
    """Print what is wrong, the refusals by reason, and the counts; 1 where anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.sweeps")
    parser.add_argument("sweep", choices=SWEEPS)
    parser.add_argument("--shard", default="1/1", help="I/N: the I-th of N parts")
    parser.add_argument("--only", nargs="*", help="these operators")
    parser.add_argument("--case", nargs="*", help="these cases")
    parser.add_argument("-v", action="store_true", help="print refusals and what is not judged case by case")
    given = parser.parse_args()
    cases = list(SWEEPS[given.sweep](given.only))
    cases = [case for case in cases if case.id in given.case] if given.case else shard(cases, given.shard)
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for outcome in judge(cases):
        counts[outcome.verdict] += 1
        if outcome.verdict == Verdict.WRONG or (given.v and outcome.reason):
            print(f"{outcome.verdict}: {outcome.case.id}: {outcome.reason}", flush=True)
        if outcome.verdict in (Verdict.REFUSED, Verdict.UNJUDGED):
            reasons[f"{outcome.verdict}: {outcome.case.operator}: {outcome.reason[:90]}"] += 1
    for reason, count in sorted(reasons.items()):
        print(f"{count:6} {reason}")
    print(f"{given.sweep} {given.shard}: {len(cases)} cases: " + ", ".join(f"{counts[v]} {v}" for v in Verdict))
    return 1 if counts[Verdict.WRONG] else 0


if __name__ == "__main__":
    sys.exit(main())
