"""Fault injection: campaigns on a Ray cluster whose workers, drivers, nodes and store fail at random.

    python -m benchmarks.chaos --campaigns 12 --seed 0

Each campaign has a cluster of its own, in network and process namespaces of its own: a head without CPUs and two nodes,
and `longtail run --runner ray --address ...` as a process. A seed decides which faults strike and after how many
committed runs. A reader polls the store all the while. Afterwards every run must be there once, with the bits of a
campaign that nothing disturbed, and so must every estimate. See docs/reliability.md.
"""
