"""Transfer: adapting a pretrained model to one task with few labels."""
