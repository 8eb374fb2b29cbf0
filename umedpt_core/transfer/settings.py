"""How a model is brought to a task (paper: Clinical validation)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

WEIGHT_DECAY = 0.05
"""AdamW's, as in pretraining."""

Mode = Literal["frozen", "finetune", "bitfit", "lora"]


class AdaptSettings(BaseModel):
    """The training of a task's head, and of what else the mode trains.

    Attributes:
        mode: ``frozen``: the head alone, on fixed shared blocks. The others go on from there:
            ``finetune`` with all parameters, ``bitfit`` with the biases (Ben Zaken et al., ACL
            2022), ``lora`` with low-rank additions to the encoder's linear layers (Hu et al., ICLR
            2022).
        epochs: Of the head on fixed blocks, and as many again of what follows.
        updates: A bound on the optimizer steps of what follows; None: all its epochs.
        batch_size: Instances a batch.
        image_size: Side of the square that every instance becomes; None: as the task says.
        augmentation: The profile of what follows; None: the task's own; ``none``: none.
        probe_lr: Learning rate of the head on fixed blocks.
        head_lr: Learning rate of the head in what follows.
        lr: Learning rate of the shared blocks in ``finetune`` (those of the other modes are
            a hundred times as high: they change few numbers).
        val: Set a share of the training cases aside and keep the epoch that is best on it, in
            place of the last.
        seed: Of the head's initialisation, the order of cases and the augmentation.
        resamples: Bootstrap resamples for the confidence intervals; 0: no intervals.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode = "frozen"
    epochs: int = Field(100, ge=1)
    updates: int | None = Field(None, ge=1)
    batch_size: int = Field(16, ge=1)
    image_size: int | None = Field(None, ge=32)
    augmentation: str | None = None
    probe_lr: float = Field(1e-3, gt=0, lt=10)
    head_lr: float = Field(1e-4, gt=0, lt=10)
    lr: float = Field(1e-5, gt=0, lt=10)
    val: bool = False
    seed: int = Field(0, ge=0)
    resamples: int = Field(1000, ge=0)
