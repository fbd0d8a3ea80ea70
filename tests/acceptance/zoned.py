"""A client in whatever zone it is started: sends a task to a queue, and prints what its times must be."""

import json
import sys
import time

import proj

#: seconds until it may begin, and until it is too late
COUNTDOWN_S, EXPIRES_S = 2, 3600


def main(queue: str) -> None:
    now = time.time()
    sent = proj.tell_time.apply_async(countdown=COUNTDOWN_S, expires=EXPIRES_S, queue=queue)
    sys.stdout.write(json.dumps({"id": sent.id, "sent": now, "eta": now + COUNTDOWN_S, "expires": now + EXPIRES_S}))


if __name__ == "__main__":
    main(sys.argv[1])
