"""Recorded readings into the past of a live log: stored beside it under positions of their own, without a tick of it.

readings of the days that may be loaded ─► `admit`, in process, in a log of the act's own (`log`)
  ─► what is stored already is a repeat (`known`) ─► readings, frames, quarantine, ticks, journal (`storing`)
  ─► panes of the days, made by the recount (`mend.backfill`) ─► windows that look back on them (`windows`)
"""
