"""Chaos for as long as one likes: `python -m tests.chaos --campaign NAME --count N --ledger FILE`.

Each run appends one line of JSON to the ledger: campaign, seed, commit, what was counted and what
failed. It fails if something is wrong, or if something that it was made for never happened.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.chaos.campaigns import BOTH, Asked, all_campaigns
from tests.chaos.fleet import chosen_seed, refuse_nothing, told
from tests.support.ledger import append


def main(given: list[str]) -> int:
    campaigns = all_campaigns()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--campaign", choices=campaigns, required=True)
    parser.add_argument("--count", type=int, required=True, help="how many troubles")
    parser.add_argument("--store", choices=BOTH, help="default: the first that it can be run on")
    parser.add_argument("--seed", type=int, help="of the first run; else a new one each time")
    parser.add_argument("--ledger", type=Path, help="append a line of JSON to this file")
    options = parser.parse_args(given)
    campaign = campaigns[options.campaign]
    store = options.store or campaign.stores[0]
    if store not in campaign.stores:
        parser.error(f"{options.campaign} is not for {store}, but for {campaign.stores}")
    seed = chosen_seed() if options.seed is None else options.seed
    print(f"campaign {options.campaign} on {store}, seed {seed}", flush=True)
    begun, failures = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="perdure-chaos-") as folder:
        asked = Asked(Path(folder), store, seed, options.count)
        try:
            campaign.run(asked)
            refuse_nothing(asked.counters, *campaign.expected(options.count))
        except Exception as error:
            traceback.print_exc()
            failures.append(f"{type(error).__name__}: {error}"[:2_000])
    print(told(seed, asked.counters))
    if options.ledger is not None:
        line = {
            "campaign": options.campaign,
            "store": store,
            "count": options.count,
            "seed": seed,
            "seconds": round(time.monotonic() - begun, 1),
            "counts": dict(sorted(asked.counters.items())),
            "failures": failures,
        }
        append(options.ledger, "chaos", line)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
