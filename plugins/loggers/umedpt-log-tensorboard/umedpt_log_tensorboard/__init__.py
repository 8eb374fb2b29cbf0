"""umedpt-log-tensorboard: a run for TensorBoard."""

from umedpt_core import LoggerSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_loggers():
    """Register the logger."""
    yield LoggerSpec(
        name="tensorboard",
        summary="losses, metrics, rates and sample predictions, tensorboard/ in the run folder",
        open="umedpt_log_tensorboard.writer:open_writer",
    )
