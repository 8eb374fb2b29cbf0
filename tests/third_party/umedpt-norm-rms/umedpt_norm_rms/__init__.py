"""umedpt-norm-rms: division by the root mean square, without a mean."""

from umedpt_core import NormSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_norms():
    """Register the norm."""
    yield NormSpec(
        name="rms",
        summary="root mean square over a sample, with a scale a channel",
        swap="umedpt_norm_rms.swap:swap",
    )
