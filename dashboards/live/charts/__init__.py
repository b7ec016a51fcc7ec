"""Options of ECharts from a panel and its rows: pure functions, one module per kind of chart.

Options are plain JSON without any function. What only the browser can know (theme, size, how a number is written
beside the pointer) is added there.
"""
