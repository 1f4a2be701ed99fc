"""Cost of probes: forward passes of single examples, for the time that `longtail plan` estimates."""

from workers.campaign.campaign import Campaign

TRAINING_PASSES = 3
"""A training step costs about three forward passes: one forward, two backward."""

TYPICAL_UNITS = 15
"""Steps of the search for units, for which there is no bound but `most`: about what networks on small images take."""


def probe_passes(campaign: Campaign, layers: int, members: int, num_examples: int) -> float:
    """Forward passes of one example that measuring a run takes after its last epoch.

    Of a model with that many layers, a subset of `members`, and `num_examples` training and test examples. Gradient
    accounting is part of the training steps; a probe of the user's own is not known.
    """
    probes, passes = campaign.record.probes, 0.0
    evaluation = num_examples * (2 if campaign.recipe.evaluation_flip else 1)
    if probes is None:
        return passes
    if probes.rewinding:
        epochs = len({*range(0, campaign.recipe.epochs, probes.rewinding.every), campaign.recipe.epochs})
        # Three rules, one of which passes over the subset first; on average half of the network is behind the layer.
        passes += layers * epochs * (3 * evaluation + members) / 2
    if probes.retraining:
        passes += layers * probes.retraining.epochs * (TRAINING_PASSES * members + evaluation)
    if probes.dropout:
        passes += 3 * evaluation
    if probes.neurons:
        steps = min(TYPICAL_UNITS, probes.neurons.most)
        sample = min(4 * probes.neurons.evaluated, evaluation)
        passes += probes.neurons.examples * (steps * TRAINING_PASSES * probes.neurons.batch_size + sample)
    return passes
