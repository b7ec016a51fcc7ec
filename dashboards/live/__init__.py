"""The boards as a page in the browser, from the same model as Grafana's and without Grafana.

The page asks for the panels that are in sight; the server asks the store, once for everybody who looks, and answers
with what to draw. Nothing is stored here, nothing is written anywhere.
"""
