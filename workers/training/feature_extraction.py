"""Computes the features of every example by a committed run's model, which is trained again and verified."""

import torch

from workers.campaign.dataset_spec import Encoder
from workers.campaign.keys import Run
from workers.common.arrays import Float32s
from workers.common.progress import ProgressCallback, no_progress
from workers.common.splits import Split
from workers.datasets import load_dataset
from workers.datasets.run_features import RunFeatures
from workers.store import Store
from workers.store.example_schema import flags_sha256
from workers.training.determinism import deterministic
from workers.training.penultimate_features import check_finite, check_head, head_inputs
from workers.training.replay import replay_run
from workers.training.store_data import load_store_data, trainable_campaign
from workers.user_code.boundary import user_code


def extract_features(
    store: Store,
    run: Run,
    device: str = "cpu",
    *,
    on_epoch: ProgressCallback = no_progress,
    trust_code: bool = False,
    accept_differences: bool = False,
) -> RunFeatures:
    """The penultimate-layer features of all examples by the model of `replay_run`, in evaluation mode.

    Inputs are scaled images without augmentation, in float32. Examples that an earlier encoder has seen, whose features
    the run was trained on, count as seen by this one. Raises as `replay_run`; ModelError before anything is trained
    where the model has no head, LongtailError where a feature is not finite.
    """
    campaign = trainable_campaign(store, trusted=trust_code)
    dataset = load_dataset(campaign.dataset, store.header.fingerprint, trusted=trust_code)
    check_head(campaign.model, dataset.input_shape, dataset.num_classes)
    replayed = replay_run(
        store, run, device, on_epoch=on_epoch, trust_code=trust_code, accept_differences=accept_differences
    )
    dataset, data = load_store_data(store, campaign, torch.device(device), trusted=trust_code)

    def features(split: Split) -> Float32s:
        with user_code("model"), deterministic(data.device):
            tensor = head_inputs(replayed.model, data, split=split)
        check_finite(tensor, run)
        array: Float32s = tensor.cpu().numpy()
        return array

    seen, seen_before = replayed.result.subset, store.seen_by_encoder()
    seen = seen if seen_before is None else seen | seen_before
    names = (None if texts is None else tuple(texts.to_pylist()) for texts in store.names)
    train_names, test_names = names
    return RunFeatures(
        train_features=features("train"),
        test_features=features("test"),
        train_labels=dataset.train_labels,
        test_labels=dataset.test_labels,
        given_labels=store.given_labels(),
        seen_by_encoder=seen,
        class_names=store.header.class_names,
        encoder=Encoder(
            identity=store.header.identity,
            run=run.run_id,
            examples=store.header.examples_fingerprint,
            seen_sha256=flags_sha256(seen),
        ),
        model=campaign.model.model_dump(mode="json"),
        differences=replayed.differences,
        train_names=train_names,
        test_names=test_names,
    )
