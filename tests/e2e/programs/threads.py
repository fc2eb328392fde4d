"""Two nodes, each in a native thread of its own; the main thread, which is free, uses them too."""

import queue
import sys
import threading

from runtime.node import Node
from tests.e2e.flows import add, nap_in_step


def run(directory: str, answers: list[float], running: "queue.SimpleQueue[Node]") -> None:
    with Node(directory) as node:
        nap = node.start_flow(nap_in_step, 0.2)
        answers.append(node.start_flow(add, 2, 3).result(timeout=10))
        answers.append(nap.result(timeout=10))
        running.put(node)
        node.wait_until_asked_to_stop()


def main(*directories: str) -> None:
    answers: list[float] = []
    running: queue.SimpleQueue[Node] = queue.SimpleQueue()
    threads = [threading.Thread(target=run, args=(each, answers, running)) for each in directories]
    for thread in threads:
        thread.start()
    for _ in threads:
        node = running.get()
        answers.append(node.start_flow(add, 3, 4).result(timeout=10))
        node.ask_to_stop()
    for thread in threads:
        thread.join()
    print(sorted(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
