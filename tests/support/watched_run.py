"""Run commands of medprm in this process while Python itself tells of what must not happen; see test_offline.

    python watched_run.py FOLDER COMMANDS.json

FOLDER is a model whose code must not run. Prints, as JSON, the exit status of each command and every forbidden event:
connections and look-ups of names, classes made by unpickling, code that runs from FOLDER.
"""

import json
import sys

FORBIDDEN = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "pickle.find_class"}
seen: list[str] = []


def watch(event: str, given: tuple) -> None:
    if event in FORBIDDEN:
        seen.append(f"{event} {given[1:] if event.startswith('socket') else given}")
    elif event == "exec" and getattr(given[0], "co_filename", "").startswith(sys.argv[1]):
        seen.append(f"{event} {given[0].co_filename}")


def main() -> None:
    from medprm_scorer import cli

    with open(sys.argv[2], encoding="utf-8") as file:
        commands = json.load(file)
    sys.addaudithook(watch)
    statuses = [cli.main(command) for command in commands]
    sys.stdout.flush()
    sys.stderr.write(json.dumps([statuses, seen]) + "\n")


if __name__ == "__main__":
    main()
