"""Fuzz edgesparse with random graphs.

Usage: python -m tests.fuzz [--seconds S] [--graphs N] [--seed N] [--fault NAME] [--only NAME ...]
                         [--witness SHARE] [--report FILE] [--again FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.fuzz.campaign import Campaign, examined, newest_opset, read_finding
from tests.fuzz.coverage import Coverage
from tests.fuzz.report import report
from tests.fuzz.subject import Subject

CACHE = Path(__file__).parents[2] / "build" / "fuzz-models"


def main() -> int:
    """Run what the options say; 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz edgesparse with random graphs.")
    parser.add_argument("--seconds", type=float, help="how long; 60 where no number of graphs is given")
    parser.add_argument("--graphs", type=int, help="how many graphs")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--fault", help="a fault to put back, see faults.py")
    parser.add_argument("--only", nargs="*", default=(), help="operators, patterns, kinds of invalid models")
    parser.add_argument("--witness", type=float, default=0.25, help="share of models compiled with a witness")
    parser.add_argument("--report", type=Path, help="write what all runs add up to, and end")
    parser.add_argument("--again", type=Path, help="judge a finding again")
    options = parser.parse_args()
    if options.again:
        return _again(options.again, options.fault)
    coverage = Coverage(newest_opset(), CACHE / "coverage.json" if options.fault is None else None, options.only)
    if options.report:
        options.report.write_text(report(coverage, options.report))
        return 0
    seconds = 60.0 if options.seconds is None and options.graphs is None else options.seconds
    put_back = options.fault is not None
    campaign = Campaign(
        options.seed,
        coverage,
        finds=None if put_back else CACHE / "finds",
        fault=options.fault,
        shrinks=not put_back,
        witness=options.witness,
    )
    print(f"seed {options.seed}, opsets up to {coverage.newest}")
    try:
        for finding in campaign.run(seconds, options.graphs):
            print(f"FOUND {finding}\n  {finding.folder}", flush=True)
            if put_back:
                break
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    finally:
        campaign.close()
        coverage.judged.update(campaign.tally.counts())
        coverage.save()
    for title, counts in (("refused", campaign.tally.refused), ("not judged", campaign.tally.unjudged)):
        for reason, count in counts.most_common():
            print(f"{title:>10s} {count:5d}  {reason}")
    print(coverage.summary())
    print(campaign.tally.line())
    return int(bool(campaign.tally.findings))


def _again(place: Path, fault: str | None) -> int:
    subject = Subject(fault)
    sample, way, twins, truths = read_finding(place)
    found = examined(subject, sample, way, twins, truths)
    subject.stop()
    print("right, refused or not judged" if found is None else ": ".join(found))
    return int(found is not None)


if __name__ == "__main__":
    sys.exit(main())
