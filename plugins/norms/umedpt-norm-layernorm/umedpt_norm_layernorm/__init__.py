"""umedpt-norm-layernorm: layer norm over (C, H, W) of one sample (paper: Architecture)."""

from umedpt_core import NormSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_norms():
    """Register UMedPT's norm and that of UMedPT-affine."""
    yield NormSpec(
        name="layernorm",
        summary="layer norm without parameters, the paper's default",
        swap="umedpt_norm_layernorm.swap:without_parameters",
    )
    yield NormSpec(
        name="affine-layernorm",
        summary="layer norm with scale and bias (UMedPT-affine)",
        swap="umedpt_norm_layernorm.swap:with_parameters",
    )
