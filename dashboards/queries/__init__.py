"""What panels ask ClickHouse, with Grafana's macros: `$__timeFilter_ms(column)`, `$__fromTime_ms`, `$__toTime_ms`,
`$__interval_s`, and variables as `${city:singlequote}`.

Every query lies within the chosen time, and asks windows and panes, never readings, unless it is a drill-down to
devices. Of a window the greatest version is the truth; a tuple is picked as one, because picking the value alone
would pass over a newest value that is null.
"""
