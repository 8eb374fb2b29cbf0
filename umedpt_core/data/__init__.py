"""From a publisher's files to batches: cases, readers, splits, augmentation, one loader."""
