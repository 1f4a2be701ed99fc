"""Numbers of the probes in a run's stream of probes: the first key of `Subject.generator`."""

from enum import IntEnum


class ProbeStream(IntEnum):
    """The numbers are part of results: never reuse or change one. Other probes may take any number from 1000 on."""

    RETRAINING = 0
    NEURONS = 1
