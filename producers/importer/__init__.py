"""The importer: recorded readings from CSV files, as a log of their own.

    mapping ─► files ─► readings in order of time, each once ─► frames and ticks ─► broker, or folds in process

`Import` reads and orders the files and says everything that is wrong before anything is sent; `send` writes the
log under a prefix of its own, `fold_import` runs it through the folds in this process.
"""

from pearlstream.inprocess import Folded
from producers.importer.inprocess import fold_import
from producers.importer.job import Import, Survey
from producers.importer.mapping import Mapping, load_mapping, parse_mapping
from producers.importer.problems import FileRefused, MappingError, PrefixRefused
from producers.importer.resolve import Resolved, resolve

__all__ = [
    "FileRefused",
    "Folded",
    "Import",
    "Mapping",
    "MappingError",
    "PrefixRefused",
    "Resolved",
    "Survey",
    "fold_import",
    "load_mapping",
    "parse_mapping",
    "resolve",
]
