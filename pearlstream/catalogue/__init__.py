"""The catalogue: what is declared, and from which everything else follows.

`load_catalogue(overlays)` reads the shipped TOML files and any overlay folders, checks every term and
formula, and gives one immutable `Catalogue`.
"""

from pearlstream.catalogue.catalogue import Catalogue, load_catalogue
from pearlstream.catalogue.indicator import Indicator, Measure
from pearlstream.catalogue.models import City, Feed, FieldSpec
from pearlstream.catalogue.scenario import Effect, Scenario

__all__ = ["Catalogue", "City", "Effect", "Feed", "FieldSpec", "Indicator", "Measure", "Scenario", "load_catalogue"]
