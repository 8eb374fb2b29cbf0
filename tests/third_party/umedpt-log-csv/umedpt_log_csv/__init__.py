"""umedpt-log-csv: the losses of a run for a spreadsheet."""

from umedpt_core import LoggerSpec, hookimpl

UMEDPT_API = 1


@hookimpl
def umedpt_loggers():
    """Register the logger."""
    yield LoggerSpec(
        name="csv",
        summary="losses as a table, losses.csv in the run folder",
        open="umedpt_log_csv.logger:CsvLogger",
    )
