"""A client of the project: sends so many tasks of mixed fates, then prints as JSON what each must end in."""

import json
import random
import sys
import time
import uuid

import proj


def main(number: int, seed: int, rate: float) -> None:
    """`rate` is tasks a second; 0 is as fast as it goes."""
    rng = random.Random(seed)
    fates = rng.choices(list(proj.WEIGHTS), list(proj.WEIGHTS.values()), k=number)
    plan = [(str(uuid.UUID(int=rng.getrandbits(128), version=4)), fate) for fate in fates]
    proj.app.control.revoke([task_id for task_id, fate in plan if fate == "revoked"])
    time.sleep(1)
    begun = time.monotonic()
    for n, (task_id, fate) in enumerate(plan):
        proj.FATES[fate][0].apply_async((n, f"order-{n:05}"), task_id=task_id)
        if rate:
            time.sleep(max(0, n / rate - (time.monotonic() - begun)))
    sys.stdout.write(json.dumps({task_id: proj.FATES[fate][1] for task_id, fate in plan}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
