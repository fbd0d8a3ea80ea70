"""A client in whatever zone it is started: sends a task to a queue, and prints where its times must lie."""

import json
import sys
import time

import proj

#: seconds until it may begin, and until it is too late
COUNTDOWN_S, EXPIRES_S = 2, 3600


def main(queue: str) -> None:
    begun = time.time()
    sent = proj.tell_time.apply_async(countdown=COUNTDOWN_S, expires=EXPIRES_S, queue=queue)
    between = (begun, time.time())
    later = {"sent": 0, "eta": COUNTDOWN_S, "expires": EXPIRES_S}
    told = {name: [at + seconds for at in between] for name, seconds in later.items()}
    sys.stdout.write(json.dumps({"id": sent.id} | told))


if __name__ == "__main__":
    main(sys.argv[1])
