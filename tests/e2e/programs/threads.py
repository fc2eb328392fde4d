"""Two nodes, each in a native thread of its own, so that the main thread is free."""

import sys
import threading

from runtime.node import Node
from tests.e2e.flows import add, nap_in_step


def run(directory: str, answers: list[float]) -> None:
    with Node(directory) as node:
        nap = node.start_flow(nap_in_step, 0.2)
        answers.append(node.start_flow(add, 2, 3).result(timeout=10))
        answers.append(nap.result(timeout=10))


def main(*directories: str) -> None:
    answers: list[float] = []
    threads = [threading.Thread(target=run, args=(each, answers)) for each in directories]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(sorted(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
